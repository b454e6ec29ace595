"""A store that accepts and never answers, or stalls: Jobs end in time, with exit code 20, and are done again."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.runtime.fake_s3 import FakeS3, serving
from tests.unit.runtime.snapshots import World, mixed_csv

from fairlead_runtime import __main__ as entry
from fairlead_runtime import s3 as client
from fairlead_runtime.errors import StoreError
from fairlead_runtime.store import open_store

READ_TIMEOUT_S = 0.3


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    monkeypatch.setattr(client, "READ_TIMEOUT_S", READ_TIMEOUT_S)
    with serving() as server:
        yield server


@pytest.fixture
def job(tmp_path: Path, s3: FakeS3, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out a snapshot as a pod has it; return its termination log."""
    world = World(tmp_path)
    (tmp_path / "input.json").write_text(json.dumps(world.input(mixed_csv(), target="late").to_json_object()))
    paths = {"FAIRLEAD_INPUT": tmp_path / "input.json", "FAIRLEAD_TERMINATION_LOG": tmp_path / "log"}
    environment = {**world.environment(), **s3.environment(), **{name: str(path) for name, path in paths.items()}}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "log"


@pytest.mark.parametrize("command", ["HEAD", "GET", "PUT"])
@pytest.mark.parametrize("name", ["manifest.json", "data/", "result.json"])
def test_a_job_ends_in_time_and_is_done_again(
    s3: FakeS3, job: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    delays_s = (0.0, 0.1)
    monkeypatch.setattr(entry, "open_store", lambda: open_store(retry_delays_s=delays_s))
    s3.hangs = lambda asked, key: asked == command and name in key
    began = time.monotonic()
    code = entry.main()
    hung = sum(1 for asked, key in s3.requests if asked == command and name in key)
    if not hung:
        assert code == 0, "the job never asks so"
        return
    assert (code, json.loads(job.read_text())["reason"]) == (20, "StoreUnreachable")
    assert hung == len(delays_s) + 1
    assert time.monotonic() - began < hung * READ_TIMEOUT_S + sum(delays_s) + 10, "bounded; 10 s for a busy machine"
    s3.hangs = lambda _command, _key: False
    assert entry.main() == 0
    assert json.loads(job.read_text())["valid"] is True
    marker, *others = [key for key in s3.buckets["lake"] if key.endswith("manifest.json")]
    assert not others, marker


@contextmanager
def _stalling(pause_s: float) -> Iterator[str]:
    """Serve one PUT at an address: take its head, pause, then take the rest, and say 200."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            taken, _ = listener.accept()
            with taken:
                head, _, body = taken.recv(4096).partition(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                time.sleep(pause_s)  # what is tested: how long a client bears it
                left = length - len(body)
                while left > 0 and (chunk := taken.recv(1 << 16)):
                    left -= len(chunk)
                taken.sendall(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n')

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_a_store_that_stalls_in_the_middle_of_a_write_is_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting has a short limit, sending the longer one of reading: a busy disk is no store that is down."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(client, "READ_TIMEOUT_S", 10.0)
    with _stalling(pause_s=1.0) as endpoint, serving() as keys:
        store = open_store({**keys.environment(), "FAIRLEAD_STORE_ENDPOINT": endpoint}, ())
        store.put_bytes("k", b"x" * (4 << 20))


def test_a_store_that_never_takes_the_rest_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "READ_TIMEOUT_S", READ_TIMEOUT_S)
    with socket.create_server(("127.0.0.1", 0)) as listener, serving() as keys:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        store = open_store({**keys.environment(), "FAIRLEAD_STORE_ENDPOINT": endpoint}, (0.0,))
        with pytest.raises(StoreError, match="StoreUnreachable"):
            store.put_bytes("k", b"x" * (4 << 20))

"""The store: the same promises over S3 and over a folder, and errors that say what to do without a secret."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.runtime.fake_s3 import SECRET_KEY, FakeS3, serving

from fairlead_runtime.errors import BadInput, ObjectNotFound, StoreError
from fairlead_runtime.store import LocalStore, Store, get_json, open_store, put_folder, put_json

NO_DELAYS = (0.0, 0.0)


@pytest.fixture
def s3() -> Iterator[FakeS3]:
    with serving() as server:
        yield server


@pytest.fixture(params=["s3", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "folder":
        yield open_store({"FAIRLEAD_STORE_ENDPOINT": f"file://{tmp_path}/store"})
        return
    with serving() as server:
        yield open_store(server.environment("team/a/"), NO_DELAYS)


def test_what_is_written_is_read_and_listed_in_order(store: Store, tmp_path: Path) -> None:
    store.put_bytes("b/2", b"two")
    (tmp_path / "one").write_bytes(b"one")
    store.put_file("b/1", tmp_path / "one")
    put_json(store, "c/x.json", {"n": 1})
    assert [entry.key for entry in store.list("b/")] == ["b/1", "b/2"]
    assert [entry.size for entry in store.list("b/")] == [3, 3]
    assert store.get_bytes("b/2") == b"two"
    assert get_json(store, "c/x.json") == {"n": 1}
    sha256 = store.get_file("b/1", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"one"
    assert sha256 == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"


def test_what_is_absent_is_named(store: Store, tmp_path: Path) -> None:
    assert not store.exists("a/b")
    with pytest.raises(ObjectNotFound, match="a/b"):
        store.get_bytes("a/b")
    with pytest.raises(ObjectNotFound):
        store.get_file("a/b", tmp_path / "x")
    store.delete("a/b")
    assert store.list("a/") == []


def test_a_folder_goes_marker_first_and_whole(store: Store) -> None:
    for name in ("data/1", "manifest.json", "z"):
        store.put_bytes(f"f/{name}", b"xy")
    store.put_bytes("f2/z", b"stays")
    order: list[str] = []
    delete = store.delete
    store.delete = lambda key: (order.append(key), delete(key))[1]  # type: ignore[method-assign, misc]
    assert store.delete_folder("f/") == (3, 6)
    assert order[0] == "f/manifest.json"
    assert [entry.key for entry in store.list("")] == ["f2/z"]
    with pytest.raises(ValueError, match="ends in /"):
        store.delete_folder("f2")


def test_a_folder_is_written_marker_last_and_once(tmp_path: Path) -> None:
    class Noting(LocalStore):
        def put_bytes(self, key: str, data: bytes) -> None:
            order.append(key)
            super().put_bytes(key, data)

    order: list[str] = []
    store = Noting(tmp_path)
    put_folder(store, "f/", {"z": b"1", "a": b"2"}, ("manifest.json", b"{}"))
    assert order == ["f/z", "f/a", "f/manifest.json"]
    put_folder(store, "f/", {"z": b"other"}, ("manifest.json", b"{}"))
    assert store.get_bytes("f/z") == b"1"


def test_keys_cannot_leave_the_prefix(store: Store) -> None:
    for key in ("/a", "../a", "a/../../b"):
        with pytest.raises(ValueError, match="relative"):
            store.put_bytes(key, b"")


def test_objects_lie_under_the_prefix(s3: FakeS3) -> None:
    open_store(s3.environment("/team/a"), NO_DELAYS).put_bytes("k", b"v")
    assert s3.buckets["lake"] == {"team/a/k": b"v"}


def test_a_short_outage_is_bridged(s3: FakeS3) -> None:
    store = open_store(s3.environment(), NO_DELAYS)
    s3.fail = [(503, "SlowDown"), (500, "InternalError")]
    store.put_bytes("k", b"v")
    assert s3.buckets["lake"] == {"k": b"v"}


@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        ([(503, "SlowDown")] * 3, "StoreUnreachable"),
        ([(403, "SignatureDoesNotMatch")], "StoreDenied"),
        ([(403, "InvalidAccessKeyId")], "StoreDenied"),
        ([(403, "AccessDenied")], "StoreDenied"),
        ([(404, "NoSuchBucket")], "NoSuchBucket"),
    ],
)
def test_each_failure_has_its_reason_and_exit_code(s3: FakeS3, fail: list[tuple[int, str]], reason: str) -> None:
    s3.fail = list(fail)
    with pytest.raises(StoreError) as caught:
        open_store(s3.environment(), NO_DELAYS).get_bytes("k")
    assert (caught.value.reason, caught.value.exit_code) == (reason, 20)
    assert SECRET_KEY not in str(caught.value)
    assert "127.0.0.1" in caught.value.message
    assert not s3.fail, "wrong credentials are not tried again"


def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    environ = {**_keys(), "FAIRLEAD_STORE_ENDPOINT": endpoint}
    with pytest.raises(StoreError, match="StoreUnreachable"):
        open_store(environ, NO_DELAYS).exists("k")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"FAIRLEAD_STORE_SECRET_KEY": ""}, "lacks secretKey"),
        ({"FAIRLEAD_STORE_BUCKET": ""}, "lacks bucket"),
        ({"FAIRLEAD_STORE_ENDPOINT": "store:9000"}, "http://host:port"),
        ({"FAIRLEAD_STORE_ENDPOINT": "https://store", "FAIRLEAD_STORE_CA": "junk"}, "ca.crt"),
    ],
)
def test_a_secret_that_is_wrong_says_what_to_change(changes: dict[str, str], message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        open_store({**_keys(), "FAIRLEAD_STORE_ENDPOINT": "http://store:9000", **changes})
    assert caught.value.reason == "StoreMisconfigured"
    assert not isinstance(caught.value, BadInput)


def _keys() -> dict[str, str]:
    return {
        "FAIRLEAD_STORE_BUCKET": "lake",
        "FAIRLEAD_STORE_ACCESS_KEY": "a",
        "FAIRLEAD_STORE_SECRET_KEY": SECRET_KEY,
    }

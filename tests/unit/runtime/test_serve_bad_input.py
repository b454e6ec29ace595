"""Whatever is sent to the public port: a 4xx that says what is wrong, never a 500, never a crash, memory bounded.

FAIRLEAD_EXAMPLES of each kind of request are drawn (`make soak`: 10,000), FAIRLEAD_SEED says which.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.support.bad_requests import GOOD, ROW, bodies, wires
from tests.support.graphs import SIGNATURE, linear
from tests.support.served import Served, store_artifact
from tests.support.wire_client import Answer, Wire, request

EXAMPLES = int(os.environ.get("FAIRLEAD_EXAMPLES", "300"))
SEED = int(os.environ.get("FAIRLEAD_SEED", "1"))
IDLE = 10_000 if EXAMPLES >= 10_000 else 500
BODY_BYTES = 65_536
HELD_BYTES = 1 << 20
LIMITS = {
    "FAIRLEAD_MAX_BODY_BYTES": f"{BODY_BYTES}",
    "FAIRLEAD_MAX_HELD_BYTES": f"{HELD_BYTES}",
    "FAIRLEAD_MAX_PENDING": "64",
    "FAIRLEAD_REQUEST_S": "2",
}
DRAWN = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    server = Served.of(folder, store_artifact(folder / "store", linear(), SIGNATURE), LIMITS).start()
    yield server
    codes = re.findall(
        r'fairlead_requests_total\{[^}]*code="(5\d\d)"\}', server.get(server.metrics, "/metrics").decode()
    )
    assert set(codes) <= {"503"}, codes
    assert server.stop() == 0, server.log()
    assert "Traceback" not in server.log()


def memory_kb(served: Served) -> int:
    """Return the server's resident memory."""
    lines = Path(f"/proc/{served.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def check(answer: Answer, sent: object) -> None:
    """Hold an answer to what is promised of it."""
    assert 200 <= answer.status < 500, (answer.status, answer.body, sent)
    if answer.status >= 400:
        message = answer.json["error"]
        assert 5 < len(message) < 2_000, (message, sent)
        assert "internal" not in message, (message, sent)
        assert "Traceback" not in message, (message, sent)
    elif answer.body:
        json.loads(answer.body)


def assert_works(served: Served) -> None:
    with Wire(served.port) as wire:
        for path, value in GOOD:
            assert wire.post(path, value).status == 200


def test_bodies_that_almost_fit(served: Served) -> None:
    assert_works(served)
    before = memory_kb(served)
    wire = Wire(served.port)
    seen = set[int]()

    @seed(SEED)
    @DRAWN
    @given(bodies())
    def each(drawn: tuple[str, bytes, tuple[str, ...]]) -> None:
        nonlocal wire
        path, body, headers = drawn
        answer = wire.post(path, body, *headers)
        check(answer, drawn)
        seen.add(answer.status)
        if answer.headers.get("connection") == "close":
            wire.close()
            wire = Wire(served.port)

    each()
    assert seen >= {200, 400, 415}, "what is drawn is neither all good nor all bad"
    assert wire.post("/predict", ROW).status == 200, "the connection goes on"
    wire.close()
    assert memory_kb(served) - before < 48 << 10


def exchange(port: int, pieces: list[bytes]) -> list[Answer]:
    """Send bytes, then nothing more, and return all answers until the server has closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused in the middle: what was answered is read below
        data = b""
        try:
            while got := client.recv(65_536):
                data += got
        except ConnectionResetError:
            pass
    answers: list[Answer] = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, (head, "half an answer")
        first, *lines = head.decode("latin-1").split("\r\n")
        assert first.startswith("HTTP/1.1 "), first
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        assert len(data) >= length, "half a body"
        answers.append(Answer(int(first.split()[1]), headers, data[:length]))
        data = data[length:]
    return [answer for answer in answers if answer.status != 100]


def test_bytes_that_are_almost_http(served: Served) -> None:
    assert_works(served)
    before = memory_kb(served)
    sent = 0
    seen = set[int]()

    @seed(SEED)
    @DRAWN
    @given(wires())
    def each(pieces: list[bytes]) -> None:
        nonlocal sent
        answers = exchange(served.port, pieces)
        for answer in answers:
            check(answer, pieces)
            seen.add(answer.status)
        sent += 1
        if sent % 100 == 0:
            assert_works(served)

    each()
    assert seen >= {400, 404, 405, 431}, "what is drawn reaches the parser's checks and those behind them"
    assert_works(served)
    assert memory_kb(served) - before < 48 << 10


INNER = b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n"
SMUGGLED = [
    b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    b"content-length: 5, 6\r\n\r\nhello",
    b"content-length: +5\r\n\r\nhello",
    b"content-length: 0x5\r\n\r\nhello",
    b"content-length : 5\r\n\r\nhello",
    b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("framing", SMUGGLED)
def test_a_body_whose_end_is_doubtful_is_refused_and_nothing_after_it_is_answered(
    served: Served, framing: bytes
) -> None:
    answers = exchange(served.port, [b"POST /predict HTTP/1.1\r\nhost: x\r\n" + framing + INNER])
    assert [answer.status for answer in answers] == [400], answers
    assert answers[0].headers["connection"] == "close"


def test_slow_clients_are_ended_and_hold_up_nobody(served: Served) -> None:
    slow = [b"POST /predict HTTP/1.1\r\nhost: x\r\nx: ", b"POST /predict HTTP/1.1\r\ncontent-length: 500\r\n\r\n{"]
    with ExitStack() as stack, Wire(served.port) as good:
        clients = [stack.enter_context(Wire(served.port)) for _ in range(100)]
        for number, client in enumerate(clients):
            client.send(slow[number % 2])
        began, ended, worst_s = time.monotonic(), set[int](), 0.0
        while len(ended) < len(clients) and time.monotonic() - began < 15:
            for number, client in enumerate(clients):
                try:
                    if number not in ended:
                        client.send(b"x")  # a byte now and then, for ever
                except OSError:
                    ended.add(number)
            asked = time.monotonic()
            assert good.post("/predict", ROW).status == 200
            worst_s = max(worst_s, time.monotonic() - asked)
        assert len(ended) == len(clients), f"{len(clients) - len(ended)} slow clients are still there"
    assert worst_s < 2


def test_a_client_that_never_reads_is_not_read_from_either(served: Served) -> None:
    before = memory_kb(served)
    with socket.create_connection(("127.0.0.1", served.port)) as greedy:
        greedy.settimeout(0.5)
        asked = request("POST", "/predict", json.dumps({"rows": [ROW] * 100}).encode()) * 10
        sent = 0
        try:
            while sent < 64 << 20:
                sent += greedy.send(asked)
        except TimeoutError:
            pass  # it reads no more from us
        assert sent < 64 << 20
        assert_works(served)
    assert memory_kb(served) - before < 32 << 10


def test_unfinished_requests_of_all_clients_hold_a_bounded_sum(served: Served) -> None:
    piece = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n" + b" " * 50_000
    with ExitStack() as stack:
        clients = [stack.enter_context(Wire(served.port)) for _ in range(40)]
        for client in clients:
            client.send(piece[:30_000])
        refused = 0
        for client in clients:
            try:
                client.send(piece[30_000:])
            except OSError:
                refused += 1
        with Wire(served.port) as small:
            assert small.post("/predict", ROW).status == 200, "what needs no room is answered"
        statuses = [client.read() for client in clients]
        full = [answer for answer in statuses if answer.status == 503]
        assert len(full) >= 40 - HELD_BYTES // 50_000
        assert all(answer.headers["retry-after"] == "1" for answer in full)
        assert {answer.status for answer in statuses} == {408, 503}, "the others were never completed"
    with Wire(served.port) as wire:  # and all of it was given back
        body = json.dumps({"rows": [ROW] * 1_200}).encode()
        data = request("POST", "/predict", body)
        for start in range(0, len(data), 10_000):
            wire.send(data[start : start + 10_000])
        assert wire.read().status == 200


def test_idle_connections_cost_little_and_refuse_nobody(served: Served) -> None:
    before = memory_kb(served)
    with ExitStack() as stack:
        for number in range(IDLE):
            wire = stack.enter_context(Wire(served.port))
            if number % 2:
                assert wire.get("/v2").status == 200
        each_kb = (memory_kb(served) - before) / IDLE
        began = time.monotonic()
        assert_works(served)
        assert time.monotonic() - began < 2
    assert each_kb < 16, f"{each_kb:.1f} KiB for each of {IDLE} idle connections"


def test_more_than_can_wait_is_refused_at_once_with_retry_after(served: Served) -> None:
    with Wire(served.port) as wire:
        asked = request("POST", "/predict", json.dumps(ROW).encode())
        wire.send(asked * 300)
        answers = [wire.read() for _ in range(300)]
    assert {answer.status for answer in answers} == {200, 503}
    refused = [answer for answer in answers if answer.status == 503]
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert "64 requests wait already" in refused[0].json["error"]
    assert_works(served)


def test_too_many_connections_are_told_to_come_back(tmp_path: Path) -> None:
    artifact = store_artifact(tmp_path / "store", linear(), SIGNATURE)
    server = Served.of(tmp_path, artifact, {"FAIRLEAD_MAX_CONNECTIONS": "5"}).start()
    with ExitStack() as stack:
        for _ in range(5):
            assert stack.enter_context(Wire(server.port)).get("/v2").status == 200
        with Wire(server.port) as late:
            answer = late.read()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert late.closed
    assert server.stop() == 0

"""The proxy over real sockets: what goes through is unchanged, what fails is counted, nothing outlives its client."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.eventually import eventually
from tests.support.proxied import DRAIN_PATH, Played, Talk, echo, proxied
from tests.support.served import REVISION, Served
from tests.support.wire_client import Wire, request

PLAN: dict[str, Any] = {}  # what the played server does by path; a test sets its own


def script(talk: Talk) -> None:
    """Do what PLAN says of a request's path, else answer with its body."""
    while True:
        head, body = talk.read_request()
        path = head.split(b" ")[1].decode().partition("?")[0]
        if path in PLAN:
            PLAN[path](talk, head, body)
        else:
            talk.answer(body)


@pytest.fixture(scope="module")
def server() -> Iterator[Played]:
    with Played(script) as played:
        yield played


@pytest.fixture(scope="module")
def proxy(server: Played, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    started = proxied(tmp_path_factory.mktemp("proxied"), server.port, readiness_path="/ready").start()
    yield started
    assert started.stop() == 0, started.log()
    assert "Traceback" not in started.log(), started.log()


@pytest.fixture(scope="module")
def impatient(server: Played, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = {"FAIRLEAD_REQUEST_S": "1"}
    started = proxied(tmp_path_factory.mktemp("impatient"), server.port, limits, timeout_s=1).start()
    yield started
    assert started.stop() == 0, started.log()


@pytest.fixture
def wire(proxy: Served) -> Iterator[Wire]:
    with Wire(proxy.port) as connection:
        yield connection


def counts(proxy: Served) -> dict[str, int]:
    said = proxy.arm()
    return {name: said[name] for name in ("requests", "failed", "slow", "inFlight")}


def test_an_answer_is_passed_on_and_stamped(proxy: Served, server: Played, wire: Wire) -> None:
    PLAN["/v1/score"] = lambda talk, head, body: talk.answer(
        b"\x00\xff" + body,
        "418 I'm a Teapot",
        b"X-Own: Yes \r\nx-fairlead-revision: forged\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n",
    )
    answer = wire.post(
        "/v1/score?q=%20#x", b"\x80\x81", "X-Asked: a,  b", "te: trailers", "x-fairlead-response-id: mine"
    )
    assert (answer.status, answer.body) == (418, b"\x00\xff\x80\x81")
    assert answer.headers["x-own"] == "Yes"
    assert answer.headers["x-fairlead-revision"] == REVISION
    assert answer.headers["x-fairlead-model-version"] == "tumor-1"
    assert answer.headers["x-fairlead-model-digest"] == proxy.document.artifact.digest
    assert re.fullmatch(r"5e5e5e5e5e-[0-9A-HJKMNP-TV-Z]{26}", answer.headers["x-fairlead-response-id"])
    head, body = server.last("/v1/score")
    assert head.startswith(b"POST /v1/score?q=%20#x HTTP/1.1\r\n")
    assert b"X-Asked: a,  b\r\n" in head
    assert b"te:" not in head
    assert head.count(b"x-fairlead-response-id: ") == 1
    assert answer.headers["x-fairlead-response-id"].encode() in head
    assert body == b"\x80\x81"


def test_a_client_is_asked_to_stay_where_the_route_wants_it(wire: Wire) -> None:
    PLAN["/broken"] = lambda talk, head, body: talk.answer(body, "500 Internal Server Error")
    kept = wire.post("/x", b"{}", "x-fairlead-sticky: /fraud").headers["set-cookie"]
    assert kept.startswith("fairlead-arm=5e5e5e5e5e; Path=/fraud; Max-Age=")
    assert "set-cookie" not in wire.post("/broken", b"{}", "x-fairlead-sticky: /fraud").headers
    assert "set-cookie" not in wire.post("/x", b"{}", "x-fairlead-sticky: /a; Domain=example.com").headers
    assert "set-cookie" not in wire.post("/x", b"{}").headers


def test_connections_are_used_again_and_pipelined_answers_keep_their_order(server: Played, wire: Wire) -> None:
    wire.post("/x", b"first")
    before = server.connections
    bodies = [b"%d" % number for number in range(40)]
    wire.send(b"".join(request("POST", "/x", body) for body in bodies))
    assert [wire.read().body for _ in bodies] == bodies
    assert server.connections == before


def test_a_connection_that_the_server_ended_is_not_used_again(proxy: Served, server: Played, wire: Wire) -> None:
    ended = threading.Event()

    def once(talk: Talk, head: bytes, body: bytes) -> None:
        talk.answer(body)
        talk.socket.close()
        ended.set()

    PLAN["/once"] = once
    before = counts(proxy)["failed"]
    for number in range(200):
        assert wire.post("/once", b"%d" % number).body == b"%d" % number
        assert ended.wait(10)  # no client can know of an end that comes after it has written
        ended.clear()
    assert counts(proxy)["failed"] == before


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_answers_without_a_body(wire: Wire, method: str) -> None:
    PLAN["/empty"] = lambda talk, head, body: talk.write(
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + (b"" if head.startswith(b"HEAD") else b"12345")
    )
    PLAN["/nothing"] = lambda talk, head, body: talk.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    PLAN["/same"] = lambda talk, head, body: talk.write(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n")
    for path, status in (("/empty", 200), ("/nothing", 204), ("/same", 304), ("/nothing", 204)):
        wire.send(request(method, path))
        head = read_head(wire)
        assert head.startswith(b"HTTP/1.1 %d " % status)
        if (method, path) == ("GET", "/empty"):
            assert wire._reader.read(5) == b"12345"


def read_head(wire: Wire) -> bytes:
    lines = []
    while (line := wire._reader.readline()) not in (b"\r\n", b""):
        lines.append(line)
    return b"".join(lines)


def read_chunks(wire: Wire) -> bytes:
    found = []
    while size := int(wire._reader.readline(), 16):
        found.append(wire._reader.read(size))
        assert wire._reader.readline() == b"\r\n"
    assert wire._reader.readline() == b"\r\n"
    return b"".join(found)


def test_chunks_go_through_both_ways_as_they_come(wire: Wire) -> None:
    gates = {name: threading.Event() for name in ("first", "second")}

    def stream(talk: Talk, head: bytes, body: bytes) -> None:
        talk.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        assert gates["first"].wait(10)
        talk.write(b"4;x=y\r\n" + body + b"\r\n")
        talk.write(b"0\r\nx-trailer: 1\r\n\r\n")

    PLAN["/stream"] = stream
    wire.send(b"POST /stream HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")
    assert b"transfer-encoding: chunked" in read_head(wire)
    assert wire._reader.read(len(b"3\r\none\r\n")) == b"3\r\none\r\n"  # before the rest was sent
    gates["first"].set()
    assert read_chunks(wire) == b"abcd"
    assert wire.post("/x", b"next").body == b"next"


def test_an_answer_that_ends_with_its_connection(proxy: Served) -> None:
    def old(talk: Talk, head: bytes, body: bytes) -> None:
        talk.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        talk.socket.close()

    PLAN["/old"] = old
    with Wire(proxy.port) as wire:
        wire.send(request("GET", "/old"))
        assert b"transfer-encoding: chunked" in read_head(wire)
        assert read_chunks(wire) == b"all of it"
        wire.send(b"GET /old HTTP/1.0\r\n\r\n")
        assert b"connection: close" in read_head(wire)
        assert wire._reader.read() == b"all of it"


def test_a_client_that_waits_for_100_continue_gets_the_servers(proxy: Served) -> None:
    def careful(talk: Talk) -> None:
        assert b"expect: 100-continue" in talk.read_head()
        talk.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        talk.answer(talk.read(5))

    with Played(careful) as server, proxied_in(proxy, server) as other, Wire(other.port) as wire:
        wire.send(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        assert read_head(wire).startswith(b"HTTP/1.1 100 ")
        wire.send(b"12345")
        assert wire.read().body == b"12345"


def test_big_bodies_go_through_in_bounded_memory(proxy: Served, wire: Wire) -> None:
    size = 32 << 20

    def take(talk: Talk, head: bytes, body: bytes) -> None:
        talk.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 1 << 20):
            talk.write(body[start : start + (1 << 20)])

    PLAN["/big"] = take
    before = memory(proxy.pid)
    body = bytes(range(256)) * (size // 256)
    sender = threading.Thread(target=wire.send, args=(request("POST", "/big", body),))
    sender.start()
    answer = wire.read()
    sender.join()
    assert answer.body == body
    assert memory(proxy.pid) - before < 12e6


def memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def test_a_server_that_dies_before_or_in_its_answer_has_failed(proxy: Served) -> None:
    def before(talk: Talk, head: bytes, body: bytes) -> None:
        talk.socket.close()

    def halfway(talk: Talk, head: bytes, body: bytes) -> None:
        talk.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        talk.socket.close()

    def in_chunks(talk: Talk, head: bytes, body: bytes) -> None:
        talk.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        talk.socket.close()

    PLAN.update({"/before": before, "/halfway": halfway, "/in-chunks": in_chunks})
    failed = counts(proxy)["failed"]
    with Wire(proxy.port) as wire:
        answer = wire.post("/before", b"{}")
        assert answer.status == 502
        assert "closed the connection before it answered" in answer.json["error"]
        assert answer.headers["x-fairlead-revision"] == REVISION
    with Wire(proxy.port) as wire:
        assert wire.post("/halfway", b"{}").body == b"half"  # fewer than the head says, then the end
        assert wire._reader.read() == b""
    with Wire(proxy.port) as wire:
        wire.send(request("POST", "/in-chunks", b"{}"))
        read_head(wire)
        assert wire._reader.read() == b"4\r\nhalf\r\n"  # no last chunk: the client sees that it is not whole
    assert counts(proxy)["failed"] == failed + 3


def test_what_is_no_http_has_failed(proxy: Served, wire: Wire) -> None:
    def garbage(talk: Talk, head: bytes, body: bytes) -> None:
        talk.write(b"SSH-2.0-OpenSSH\r\n\r\n")

    PLAN["/garbage"] = garbage
    answer = wire.post("/garbage", b"{}")
    assert (answer.status, "not answer in HTTP/1.1" in answer.json["error"]) == (502, True)
    assert wire.post("/x", b"goes on").body == b"goes on"


def test_a_slow_server_is_given_up_and_counted_as_failed(impatient: Served) -> None:
    done = threading.Event()

    def slow(talk: Talk, head: bytes, body: bytes) -> None:
        done.wait(20)
        talk.answer()

    PLAN["/slow"] = slow
    with Wire(impatient.port) as wire:
        answer = wire.post("/slow", b"{}")
        assert (answer.status, "did not go on for 1 seconds" in answer.json["error"]) == (504, True)
        assert counts(impatient)["failed"] == 1
        done.set()
        assert wire.post("/x", b"goes on").body == b"goes on"


def test_a_client_that_leaves_ends_its_request_at_the_server_too(proxy: Served) -> None:
    arrived, ended = threading.Event(), threading.Event()

    def waiting(talk: Talk, head: bytes, body: bytes) -> None:
        arrived.set()
        assert not talk.socket.recv(1)
        ended.set()

    PLAN["/waiting"] = waiting
    before = counts(proxy)
    with Wire(proxy.port) as wire:
        wire.send(request("POST", "/waiting", b"{}"))
        assert arrived.wait(20)
        assert counts(proxy)["inFlight"] == 1
    assert ended.wait(20)
    asyncio.run(eventually(lambda: counts(proxy)["inFlight"] == 0, 20))
    after = counts(proxy)
    assert (after["requests"], after["failed"]) == (before["requests"] + 1, before["failed"])


def test_a_client_that_does_not_read_costs_no_memory_and_is_ended(impatient: Served) -> None:
    ended = threading.Event()

    def endless(talk: Talk, head: bytes, body: bytes) -> None:
        talk.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                talk.write(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
        except OSError:
            ended.set()

    PLAN["/endless"] = endless
    before = memory(impatient.pid)
    with Wire(impatient.port) as wire:
        wire.send(request("POST", "/endless", b"{}"))
        assert ended.wait(20), "the server may stop, too"
    assert memory(impatient.pid) - before < 12e6


def test_a_client_that_stops_sending_is_refused(impatient: Served) -> None:
    with Wire(impatient.port) as wire:
        wire.send(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf")
        assert wire.read().status == 408
    with Wire(impatient.port) as wire:
        wire.send(b"POST /x HTTP/1.1\r\nhost:")
        assert wire.read().status == 408


def test_an_answer_before_the_request_was_read_reaches_the_client(proxy: Served) -> None:
    def early(talk: Talk) -> None:
        talk.read_head()
        talk.answer(b"too large", "413 Content Too Large")

    with Played(early) as strict, proxied_in(proxy, strict) as other, Wire(other.port) as wire:
        wire.send(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 200_000)
        answer = wire.read()
        assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"too large", "close")


def proxied_in(proxy: Served, server: Played) -> Any:
    folder = proxy.folder / f"other-{server.port}"
    folder.mkdir()
    return running(proxied(folder, server.port))


class running:  # noqa: N801 - reads as a word
    def __init__(self, proxy: Served) -> None:
        self.proxy = proxy

    def __enter__(self) -> Served:
        return self.proxy.start()

    def __exit__(self, *_: object) -> None:
        assert self.proxy.stop() == 0, self.proxy.log()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
        (b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n", 501),
        (b"GET /x HTTP/1.1\r\nhost: x\r\nbig: " + b"x" * 200_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
    ],
)
def test_what_cannot_be_passed_on_safely_is_refused(proxy: Served, sent: bytes, status: int) -> None:
    with Wire(proxy.port) as wire:
        wire.send(sent)
        assert wire.read().status == status


def test_an_upgrade_is_answered_in_http_1_1(proxy: Served, server: Played) -> None:
    with Wire(proxy.port) as wire:
        headers = ("connection: Upgrade, HTTP2-Settings, X-Mine", "upgrade: h2c", "http2-settings: AAMA", "x-mine: 1")
        wire.send(request("GET", "/plain", b"", *headers))
        answer = wire.read()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert wire._reader.read() == b""
    head = server.last("/plain")[0].lower()
    assert head.startswith(b"get /plain ")
    assert not re.search(rb"upgrade|http2|x-mine", head), "headers of the connection end here"


def test_what_asks_about_the_server_is_not_counted(proxy: Served, wire: Wire) -> None:
    before = counts(proxy)["requests"]
    wire.get("/ready")
    wire.send(request("OPTIONS", "/x"))
    assert wire.read().status == 200
    assert counts(proxy)["requests"] == before
    wire.get("/predict?x=1")
    assert counts(proxy)["requests"] == before + 1


BODIES = st.lists(st.binary(min_size=1, max_size=3000), max_size=8)
VALUES = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=BODIES,
    chunked=st.booleans(),
    answered_in=st.sampled_from(["length", "chunks", "close"]),
    values=st.lists(VALUES, max_size=5),
)
def test_what_goes_through_is_unchanged(
    proxy: Served, server: Played, pieces: list[bytes], chunked: bool, answered_in: str, values: list[str]
) -> None:
    body = b"".join(pieces)

    def back(talk: Talk, head: bytes, came: bytes) -> None:
        lines = b"".join(b"X-Back-%d: %b\r\n" % (i, value.encode()) for i, value in enumerate(values))
        first = b"HTTP/1.1 201 Made Up\r\n" + lines
        if answered_in == "length":
            talk.write(first + b"content-length: %d\r\n\r\n" % len(came) + came)
        elif answered_in == "chunks":
            parts = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            talk.write(first + b"transfer-encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n")
        else:
            talk.write(first + b"\r\n" + came)
            talk.socket.close()

    PLAN["/back"] = back
    head = "".join(f"X-There-{i}: {value}\r\n" for i, value in enumerate(values)).encode()
    with Wire(proxy.port) as wire:
        if chunked:
            parts = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            wire.send(
                b"POST /back HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
                + head
                + b"\r\n"
                + parts
                + b"0\r\n\r\n"
            )
        else:
            wire.send(b"POST /back HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(body) + head + b"\r\n" + body)
        said = read_head(wire)
        came_back = wire._reader.read(len(body)) if answered_in == "length" else read_chunks(wire)
    asked, came = server.last("/back")
    assert came == body == came_back
    assert said.startswith(b"HTTP/1.1 201 Made Up\r\n")
    for i, value in enumerate(values):
        assert b"X-There-%d: %b\r\n" % (i, value.encode()) in asked
        assert b"X-Back-%d: %b\r\n" % (i, value.encode()) in said


PARTS = st.sampled_from(
    [
        b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc",
        b"GET /x HTTP/1.0\r\n\r\n",
        b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HEAD /x HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"\r\n", b"\x00", b"ff\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"expect: 100-continue\r\n",
    ]
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PARTS, min_size=1, max_size=6), cut=st.integers(0, 300), noise=st.binary(max_size=20))
def test_no_bytes_end_the_proxy(proxy: Served, parts: list[bytes], cut: int, noise: bytes) -> None:
    sent = b"".join(parts)
    with Wire(proxy.port) as wire:
        wire.send(sent[:cut] + noise + sent[cut:])
        wire.socket.shutdown(1)
        while wire.socket.recv(1 << 16):
            pass
    with Wire(proxy.port) as wire:
        assert wire.post("/x", b"still there").body == b"still there"
    asyncio.run(eventually(lambda: counts(proxy)["inFlight"] == 0, 20))


def test_readiness_is_the_servers_own(tmp_path: Path) -> None:
    healthy = threading.Event()

    def ready_or_not(talk: Talk) -> None:
        talk.read_head()
        talk.answer(status="200 OK" if healthy.is_set() else "500 Oh No")

    with Played(ready_or_not) as server:
        proxy = proxied(tmp_path, server.port, readiness_path="/ready")
        starter = threading.Thread(target=proxy.start)
        starter.start()
        asyncio.run(eventually(lambda: b"upstream" in unready(proxy), 30))
        assert starter.is_alive()
        healthy.set()
        starter.join(10)
        assert not starter.is_alive()
        healthy.clear()
        asyncio.run(eventually(lambda: bool(unready(proxy)), 20))
        assert proxy.stop() == 0, proxy.log()
    assert (tmp_path / "models" / "model.onnx").exists()


def unready(proxy: Served) -> bytes:
    if not proxy.control:
        return b""
    try:
        with Wire(proxy.control) as wire:
            answer = wire.get("/readyz")
            return b"upstream " + answer.body if answer.status == 503 else b""
    except OSError:
        return b""


def test_the_hook_is_answered_when_no_request_is_left(tmp_path: Path) -> None:
    going_on, release = threading.Event(), threading.Event()

    def slow(talk: Talk) -> None:
        while True:
            head, body = talk.read_request()
            if b"/slow" in head:
                going_on.set()
                assert release.wait(20)
            talk.answer(body)

    with Played(slow) as server:
        proxy = proxied(tmp_path, server.port, {"FAIRLEAD_DRAIN_S": "0.5"}).start()
        hook = int(proxy.environ["FAIRLEAD_PORT_DRAIN"])
        with Wire(hook) as other:
            assert other.get("/drain/guess").status == 404
        with Wire(proxy.port) as long, Wire(proxy.port) as kept, Wire(hook) as drain:
            assert kept.post("/x", b"a").headers.get("connection") is None
            long.send(request("POST", "/slow", b"last"))
            assert going_on.wait(20)
            drain.send(request("GET", DRAIN_PATH))
            asyncio.run(eventually(lambda: b"draining" in unready(proxy), 20))
            assert kept.post("/x", b"b").headers["connection"] == "close"
            asyncio.run(eventually(lambda: not is_open(proxy.port), 20))
            drain.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                drain.socket.recv(1)
            drain.socket.settimeout(10)
            release.set()
            assert long.read().body == b"last"
            assert drain.socket.recv(64).startswith(b"HTTP/1.1 200")
        assert proxy.arm()["failed"] == 0
        began = time.monotonic()
        assert proxy.stop() == 0, proxy.log()
        assert time.monotonic() - began < 10, "it has drained already"


def is_open(port: int) -> bool:
    try:
        with Wire(port):
            return True
    except OSError:
        return False


def test_a_server_that_is_not_there_has_failed(tmp_path: Path) -> None:
    server = Played(echo)
    server.__enter__()
    proxy = proxied(tmp_path, server.port).start()
    server.__exit__()
    with Wire(proxy.port) as wire:
        answer = wire.post("/x", b"{}")
    assert (answer.status, "is not there on port" in answer.json["error"]) == (502, True)
    assert proxy.arm()["failed"] == 1
    asyncio.run(eventually(lambda: bool(unready(proxy)), 20))
    assert proxy.stop() == 0, proxy.log()

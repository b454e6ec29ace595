"""Requests that nobody should send: bodies that almost fit, and bytes that are almost HTTP. Hypothesis draws them.

Used by the tests of the server; every example is small, so that many can be sent.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

ROW = {"age": 12, "mean radius": 1.5}
AGE = {"name": "age", "shape": [2, 1], "datatype": "FP32", "data": [5, 15]}
RADIUS = {"name": "mean radius", "shape": [2], "datatype": "FP64", "data": [1.5, None]}
MATRIX = {"name": "input", "shape": [2, 2], "datatype": "FP32", "data": [[5, 0], [15, 0]]}
GOOD: list[tuple[str, Any]] = [
    ("/predict", ROW),
    ("/predict", {"rows": [ROW, ROW, ROW]}),
    ("/v2/models/tumor/infer", {"id": "mine", "inputs": [AGE, RADIUS], "outputs": [{"name": "label"}]}),
    ("/v2/models/tumor/infer", {"inputs": [MATRIX], "parameters": {"binary_data_output": False}}),
    ("/v2/models/tumor/infer", {"inputs": [{**MATRIX, "shape": [1, 2], "data": [5, 0]}]}),
]
HOSTILE: list[Any] = [
    None,
    True,
    False,
    0,
    -0.0,
    1,
    -1,
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    10**400,
    1e308,
    1e-320,
    3.5e38,
    -3.5e38,
    0.1,
    "",
    "x",
    "1.5",
    "null",
    "NaN",
    "ü",
    "\x00",
    "\ud83d\ude00",
    "x" * 5_000,
    "a\r\nb: c",
    "{{}}",
    "../..",
    "%s%n",
    [],
    [[]],
    [None],
    [1, [2]],
    [[1, 2], [3]],
    {},
    {"a": 1},
    {"age": 1},
    [ROW],
    {"rows": [ROW]},
    [0] * 3_000,
    [-1],
    [0],
    [2, 0],
    [10**12, 10**12],
    [2**31, 2**33],
    [1.0],
    ["2"],
    [True],
    "FP32",
    "BYTES",
    "INT8",
    "COMPLEX",
    "fp32",
]
HOSTILE_NAMES = [
    "",
    "age",
    "rows",
    "name",
    "data",
    "shape",
    "inputs",
    "parameters",
    "\x00",
    "x" * 3_000,
    "ü",
    "__proto__",
]
TOKENS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "+1", ".5", "1.", "0x10", "nan", "undefined", "'x'"]


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += _paths(inner, (*at, key))
    return found


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    value = copy.deepcopy(value)
    place = value
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return value


def _dropped(value: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return {}
    value = copy.deepcopy(value)
    place = value
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return value


anything = st.recursive(
    st.sampled_from(HOSTILE) | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, Any]:
    """Return a path and a JSON value: a good request with one to three places changed, or anything."""
    path, value = draw(st.sampled_from(GOOD))
    if draw(st.integers(0, 9)) == 0:
        return path, draw(anything)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(_paths(value)))
        change = draw(st.sampled_from(["hostile", "drop", "add", "anything", "twice"]))
        if change == "drop":
            value = _dropped(value, place)
        elif change == "add":
            grown = draw(st.dictionaries(st.sampled_from(HOSTILE_NAMES), st.sampled_from(HOSTILE), max_size=2))
            value = _replaced(value, place, {**ROW, **grown})
        elif change == "twice":
            value = _replaced(value, place, [value, value])
        else:
            value = _replaced(value, place, draw(anything if change == "anything" else st.sampled_from(HOSTILE)))
    return path, value


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes, tuple[str, ...]]:
    """Return a path, a body and extra headers."""
    path, value = draw(documents())
    body = json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    spoil = draw(st.sampled_from(["no", "no", "cut", "byte", "token", "deep", "encoding", "binary", "twice", "tail"]))
    at = draw(st.integers(0, max(0, len(body) - 1)))
    headers: tuple[str, ...] = ()
    if spoil == "cut":
        body = body[:at]
    elif spoil == "byte":
        body = body[:at] + draw(st.binary(min_size=1, max_size=4)) + body[at + 1 :]
    elif spoil == "token":
        body = body.replace(b"1", draw(st.sampled_from(TOKENS)).encode(), draw(st.integers(1, 3)))
    elif spoil == "deep":
        depth = draw(st.sampled_from([10, 200, 1_025, 5_000, 20_000]))
        opened = draw(st.sampled_from([b"[", b'{"a":', b'{"rows":[', b'{"inputs":[']))
        body = opened * (min(depth, 60_000 // len(opened)))
        body += b"]" * depth if draw(st.booleans()) and opened == b"[" else b""
        body = body[:60_000]
    elif spoil == "encoding":
        text = body.decode("utf-8", "replace")
        body = text.encode(draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "utf-7"])), "replace")
        headers = draw(st.sampled_from([(), ("content-encoding: gzip",), ("content-encoding: br",)]))
    elif spoil == "binary":
        length = draw(
            st.sampled_from(["0", "1", "-1", "x", "", "99999999999999999999", "4e2", str(len(body)), str(at)])
        )
        headers = (f"inference-header-content-length: {length}",)
        body += draw(st.binary(max_size=40))
    elif spoil == "twice":
        body += body
    elif spoil == "tail":
        body += draw(st.binary(min_size=1, max_size=8))
    return path, body[:60_000], headers


METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PRI", "post", "FOO", "P OST", ""]
TARGETS = [
    "/predict",
    "/v2",
    "/v2/models/tumor/infer",
    "/v2/models/x/infer",
    "/",
    "*",
    "//",
    "/../../etc/passwd",
    "/%00",
    "/%ff%fe",
    "/predict?x=1",
    "/predict#x",
    "/predict;x",
    "http://other/predict",
    "http://[::1/predict",
    "other:443",
    "/\u00fc",
    "",
    "/" + "x" * 9_000,
    "/v2/models/" + "y" * 2_000,
    "/pre dict",
    "/predict\x00",
    "/predict\t",
    "\\predict",
]
VERSIONS = [
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/2.0",
    "HTTP/1.2",
    "HTTP/9.9",
    "HTTP/1",
    "http/1.1",
    "HTTX/1.1",
    "",
]
FRAMINGS = [
    "content-length: 5",
    "content-length: 0",
    "content-length: -1",
    "content-length: +5",
    "content-length: 5 ",
    "content-length: 5, 5",
    "content-length: 0x5",
    "content-length: 5.0",
    "content-length: 99999999999999999999999",
    "content-length: ",
    "content-length : 5",
    "transfer-encoding: chunked",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: identity",
    "transfer-encoding: identity, chunked",
    "transfer-encoding:\x0bchunked",
    "transfer-encoding : chunked",
    "transfer-encoding: CHUNKED",
    "transfer-encoding: gzip, chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "transfer_encoding: chunked",
    "content-length: 5\r\ncontent-length: 6",
    "content-length: 5\r\ncontent-length: 5",
    "content-length: 5\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ncontent-length: 5",
    " transfer-encoding: chunked",
    "x: y\r\n transfer-encoding: chunked",
]
HEADERS = [
    "host: x",
    "host: x\r\nhost: y",
    "host:",
    ": empty",
    "no colon",
    "x: \x00",
    "x: \xff\xfe",
    "a" * 4_000 + ": b",
    "a: " + "b" * 20_000,
    "connection: close",
    "connection: keep-alive, upgrade",
    "upgrade: h2c",
    "upgrade: websocket",
    "expect: 100-continue",
    "expect: x",
    "content-type: text/plain",
    "content-encoding: gzip",
    "x: y\r\n folded",
    "x\r: y",
    "x: y\rz: w",
    "trailer: x",
    "te: trailers",
]
CHUNKS = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"5\r\nhel",
    b"zz\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    b"5;" + b"x" * 70_000 + b"\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"0\r\n" + b"a: b\r\n" * 9_000 + b"\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"0\r\n\r\nGET /v2 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"hello",
    b"hello" + b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"",
]
NO_HTTP = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x07" * 200,  # a TLS hello
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"\r\n" * 2_000,
    b"\x00" * 500,
    b"GET",
    b"GET / HTTP/1.1",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\nhost: x\n\n",
    b" GET / HTTP/1.1\r\n\r\n",
]


@st.composite
def wires(draw: st.DrawFn) -> list[bytes]:
    """Return the pieces of one connection's bytes: a request line, headers and a body, each of them odd or not."""
    if draw(st.integers(0, 7)) == 0:
        return [draw(st.sampled_from(NO_HTTP) | st.binary(min_size=1, max_size=200))]
    if draw(st.integers(0, 4)) == 0:  # one odd thing alone gets behind the parser
        method, target = draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS[:5]))
        header = draw(st.sampled_from(["host: x", "a: " + "b" * 20_000]))
        return [f"{method} {target} HTTP/1.1\r\n{header}\r\n\r\n".encode()]
    method, target = draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS))
    version = draw(st.sampled_from([*VERSIONS, *["HTTP/1.1"] * 12]))
    if draw(st.booleans()):
        method, target = "POST", "/predict"
    lines = [f"{method} {target} {version}", *draw(st.lists(st.sampled_from(HEADERS), max_size=3))]
    lines += draw(st.lists(st.sampled_from(FRAMINGS), max_size=2))
    if draw(st.integers(0, 19)) == 0:
        lines += [f"x-{i}: y" for i in range(5_000)]
    end = draw(st.sampled_from(["\r\n"] * 6 + ["\n", "\r"]))
    data = end.join([*lines, "", ""]).encode("utf-8" if draw(st.booleans()) else "latin-1", "replace")
    data += draw(st.sampled_from(CHUNKS) | st.binary(max_size=30))
    if draw(st.integers(0, 3)) == 0:
        data = data[: draw(st.integers(1, len(data)))]
    cut = draw(st.integers(0, len(data)))
    return [piece for piece in (data[:cut], data[cut:]) if piece]

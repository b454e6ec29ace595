"""A small S3 server on 127.0.0.1: path-style objects in a dict, and failures on demand. Signatures are not checked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

ACCESS_KEY, SECRET_KEY = "AKIATESTTEST", "s3cr3t-of-the-test"


class FakeS3(ThreadingHTTPServer):
    """Objects by bucket and key; `fail` is a list of (status, code) that the next requests get.

    A request for which `hangs` (of command and key) is true is taken in and never answered.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets: dict[str, dict[str, bytes]] = {"lake": {}}
        self.fail: list[tuple[int, str]] = []
        self.requests: list[tuple[str, str]] = []
        self.hangs: Callable[[str, str], bool] = lambda _command, _key: False
        self.closed = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self, prefix: str = "") -> dict[str, str]:
        return {
            "FAIRLEAD_STORE_ENDPOINT": self.endpoint,
            "FAIRLEAD_STORE_BUCKET": "lake",
            "FAIRLEAD_STORE_PREFIX": prefix,
            "FAIRLEAD_STORE_ACCESS_KEY": ACCESS_KEY,
            "FAIRLEAD_STORE_SECRET_KEY": SECRET_KEY,
        }


class _Handler(BaseHTTPRequestHandler):
    server: FakeS3
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        self.server.requests.append((self.command, key))
        if self.server.hangs(self.command, key):
            self.close_connection = True
            self.server.closed.wait(60)
            return None
        if self.server.fail:
            return self._error(*self.server.fail.pop(0))
        if bucket not in self.server.buckets:
            return self._error(404, "NoSuchBucket")
        return self._serve(self.server.buckets[bucket], key, parse_qs(parts.query).get("prefix", [""])[0], body)

    def _serve(self, objects: dict[str, bytes], key: str, prefix: str, body: bytes) -> None:
        if self.command == "GET" and not key:
            return self._list(objects, prefix)
        if self.command == "PUT":
            objects[key] = body
            return self._answer(200, b"", {"ETag": '"x"'})
        if self.command == "DELETE":
            objects.pop(key, None)
            return self._answer(204, b"")
        if key not in objects:
            return self._error(404, "NoSuchKey")
        return self._answer(200, objects[key], {"ETag": '"x"', "Last-Modified": "Sat, 21 Nov 2026 00:00:00 GMT"})

    do_GET = do_PUT = do_DELETE = do_HEAD = _handle  # noqa: N815 - http.server looks for these

    def _list(self, objects: dict[str, bytes], prefix: str) -> None:
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-21T00:00:00.000Z</LastModified>"
            f"<ETag>x</ETag><Size>{len(data)}</Size></Contents>"
            for key, data in reversed(objects.items())
            if key.startswith(prefix)
        )
        xml = f"<ListBucketResult><Name>lake</Name><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        self._answer(200, xml.encode(), {"Content-Type": "application/xml"})

    def _error(self, status: int, code: str) -> None:
        xml = f"<Error><Code>{code}</Code><Message>no</Message><RequestId>1</RequestId></Error>"
        self._answer(status, xml.encode(), {"Content-Type": "application/xml"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serving() -> Iterator[FakeS3]:
    server = FakeS3()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closed.set()
        server.shutdown()
        server.server_close()
        thread.join()

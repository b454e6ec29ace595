"""A programmable HTTP proxy between one operator and a real API server: every request and watch event passes its rules.

It listens on plain HTTP on 127.0.0.1 and forwards over TLS with the caller's own token. Without a rule it changes
nothing. It keeps a record of every call. Rules are in `rules.py`; scenarios start it by `proxied`.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

Json = dict[str, Any]
_DROPPED = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-encoding", "date"})
_LINE_MAX = 16 * 1024 * 1024


@dataclass
class Call:
    """One request as the API server would get it, and how it ended (`status` 0: without an answer)."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Json | None
    at: float = field(default_factory=time.monotonic)
    status: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """Return (namespace, plural, name, subresource), empty where there is none."""
        words = self.path.strip("/").split("/")
        words = words[2:] if words[0] == "api" else words[3:]
        namespace = ""
        if len(words) > 2 and words[0] == "namespaces":
            namespace, words = words[1], words[2:]
        words += [""] * (3 - len(words))
        return namespace, words[0], words[1], words[2]

    @property
    def plural(self) -> str:
        """Return the resource's plural."""
        return self.parts[1]

    @property
    def is_write(self) -> bool:
        """Say whether it asks for a change."""
        return self.method != "GET"

    @property
    def is_watch(self) -> bool:
        """Say whether it opens a stream of events."""
        return self.query.get("watch", "").lower() in ("true", "1")

    @property
    def is_lease(self) -> bool:
        """Say whether it is about leadership."""
        return self.plural == "leases"


@dataclass
class Answer:
    """What goes back: `cut` ends the connection after that share of the body."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    cut: float | None = None


class ConnectionCut(Exception):  # noqa: N818 - raised by rules to reset the caller's connection
    """Reset the caller's connection without an answer."""


def status_answer(code: int, reason: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    """Return an error as the API server words it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return Answer(code, json.dumps({**body, "message": message}).encode(), headers or {})


class Rule:
    """A way to hurt. Every method may be overridden; the defaults change nothing."""

    async def before(self, call: Call) -> Answer | None:
        """Look at a request before it is forwarded: answer instead, or raise ConnectionCut."""
        return None

    async def after(self, call: Call, answer: Answer) -> Answer:
        """Look at the API server's answer: change it, or raise ConnectionCut. Not called for watches."""
        return answer

    async def events(self, call: Call, event: Json) -> Sequence[Json]:
        """Return what a watch delivers in place of one event; waiting here holds up the whole stream.

        Raise ConnectionCut to end the stream.
        """
        return (event,)


@dataclass
class Proxy:
    """A running proxy; `rules` may be changed at any time and are asked in order."""

    server: str
    ca: str
    url: str = ""
    rules: list[Rule] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    _session: aiohttp.ClientSession | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take one request through the rules."""
        raw = await request.read()
        call = Call(request.method, request.path, dict(request.query), dict(request.headers), _parsed(raw))
        self.calls.append(call)
        try:
            early = await self._before(call)
            if early is None and call.is_watch:
                return await self._stream(request, call)
            answer = early or await self._forward(request, call, raw)
            if early is None:
                for rule in list(self.rules):
                    answer = await rule.after(call, answer)
            return await _reply(request, call, answer)
        except (ConnectionCut, aiohttp.ClientError, ConnectionError):
            _reset(request)
            return web.Response(status=499)

    async def _before(self, call: Call) -> Answer | None:
        for rule in list(self.rules):
            answer = await rule.before(call)
            if answer is not None:
                return answer
        return None

    def _ask(self, request: web.Request, raw: bytes, timeout_s: float | None) -> Any:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _DROPPED}
        headers["Accept-Encoding"] = "identity"
        url = self.server + request.raw_path
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=10)
        return self._session.request(request.method, url, data=raw or None, headers=headers, timeout=timeout)

    async def _forward(self, request: web.Request, call: Call, raw: bytes) -> Answer:
        async with self._ask(request, raw, 60) as response:
            body = await response.read()
            kept = {name: value for name, value in response.headers.items() if name.lower() not in _DROPPED}
            call.status = response.status
            return Answer(response.status, body, kept)

    async def _stream(self, request: web.Request, call: Call) -> web.StreamResponse:
        async with self._ask(request, b"", None) as response:
            call.status = response.status
            if response.status != 200:
                return web.Response(status=response.status, body=await response.read())
            reply = web.StreamResponse(headers={"Content-Type": "application/json"})
            await reply.prepare(request)
            async for line in lines_of(response):
                await self._deliver(call, line, reply)
            return reply

    async def _deliver(self, call: Call, line: bytes, reply: web.StreamResponse) -> None:
        event = json.loads(line)
        events: list[Json] = [event]
        if event["type"] != "BOOKMARK":
            for rule in list(self.rules):
                events = [out for one in events for out in await rule.events(call, one)]
        for one in events:
            await reply.write((json.dumps(one) + "\n").encode())


def _parsed(raw: bytes) -> Json | None:
    try:
        found = json.loads(raw) if raw else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


async def lines_of(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    held = b""
    async for chunk in response.content.iter_any():
        *whole, held = (held + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line


async def _reply(request: web.Request, call: Call, answer: Answer) -> web.StreamResponse:
    call.status = answer.status
    if answer.cut is None:
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    reply = web.StreamResponse(status=answer.status, headers=answer.headers)
    reply.content_length = len(answer.body)
    await reply.prepare(request)
    await reply.write(answer.body[: int(len(answer.body) * answer.cut)])
    raise ConnectionCut


def _reset(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


@contextlib.asynccontextmanager
async def proxied(server: str, ca: str, *rules: Rule) -> AsyncIterator[Proxy]:
    """Run a proxy before the API server at `server`, whose certificate `ca` signs, until the block ends."""
    proxy = Proxy(server, ca, rules=list(rules))
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca), limit=0)
    app = web.Application(client_max_size=_LINE_MAX)
    app.router.add_route("*", "/{path:.*}", proxy.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=True) as session:
        proxy._session = session
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield proxy
        finally:
            await runner.cleanup()

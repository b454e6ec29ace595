"""The ports that are not public: probes, `/arm` for the judge, `/feedback`, and `/metrics` for Prometheus.

Reads the shared counters, so it answers for all workers. Never on the public route. Called by `process`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from fairlead.contract.jobs import ArmReport, ServeInput

from .capture import Feedback
from .columns import RequestError, kind_of
from .counters import Counters
from .outcomes import Outcomes, needs_label, read_outcome
from .predict import Route, parse_json
from .wire import TEXT, Request, Response

MAX_LABELS = 10_000


@dataclass
class State:
    """What the probes see."""

    start_id: str
    ready: bool = False
    draining: bool = False

    def serving(self) -> bool:
        """Return whether new requests should come."""
        return self.ready and not self.draining


class InternalEndpoint:
    """Routes of one internal port; implements `wire.Endpoint`."""

    def __init__(self, routes: dict[bytes, Route]) -> None:
        self._routes = routes

    def started(self, request: Request) -> None:
        """Nothing is counted here."""

    def finished(self, requests: Sequence[Request], statuses: Sequence[int], now_ns: int) -> None:
        """Nothing is counted here."""

    def answer(self, requests: Sequence[Request]) -> list[Response]:
        """Return the routes' answers."""
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Response:
        if request.refusal:
            return self.refuse(request, request.refusal, request.reason)
        route = self._routes.get(request.path)
        if route is None:
            return _error(404, "there is nothing here")
        if request.method != route.method:
            return _error(405, f"takes {route.method.decode()}", b"allow: %b\r\n" % route.method)
        if route.handler is None:
            raise TypeError("an internal route needs a handler")
        try:
            answer = route.handler(request)
            if isinstance(answer, tuple):
                raise TypeError("an internal route answers by itself")
            return answer
        except RequestError as error:
            return _error(error.status, str(error))

    def refuse(self, request: Request, status: int, reason: str) -> Response:
        """Return the answer to what the wire refused."""
        return _error(status, reason, b"retry-after: 1\r\n" if status == 503 else b"")


class Control:
    """What the control and the metrics port answer."""

    def __init__(self, document: ServeInput, state: State, counters: Counters, feedback: Feedback | None) -> None:
        self._document = document
        self._state = state
        self._counters = counters
        self._feedback = feedback
        self._outcomes = Outcomes()

    def control_routes(self) -> InternalEndpoint:
        """Return /healthz, /readyz, /arm and /feedback."""
        return InternalEndpoint(
            {
                b"/healthz": Route(b"GET", lambda _: Response(200, b"ok", content_type=TEXT)),
                b"/readyz": Route(b"GET", self._readyz),
                b"/arm": Route(b"GET", lambda _: Response(200, orjson.dumps(self.arm().to_json_object()))),
                b"/feedback": Route(b"POST", self._take_feedback),
            }
        )

    def metrics_routes(self, render: Callable[[], bytes]) -> InternalEndpoint:
        """Return /metrics."""
        return InternalEndpoint({b"/metrics": Route(b"GET", lambda _: Response(200, render(), content_type=TEXT))})

    def arm(self) -> ArmReport:
        """Return the counts since this start."""
        counted = self._counters.arm(self._state.start_id, self._document.revision)
        return counted.model_copy(update={"outcomes": self._outcomes.counts()})

    def _readyz(self, request: Request) -> Response:
        if self._state.serving():
            return Response(200, b"ok", content_type=TEXT)
        reason = b"draining" if self._state.draining else b"loading"
        return Response(503, reason, content_type=TEXT)

    def _take_feedback(self, request: Request) -> Response:
        document = parse_json(request)
        items = document if isinstance(document, list) else [document]
        if not 0 < len(items) <= MAX_LABELS:
            raise RequestError(f"expected 1 to {MAX_LABELS} labels, got {len(items)}")
        outcomes = [found for position, item in enumerate(items) if (found := read_outcome(position, item))]
        refused = self._take_labels([(at, item) for at, item in enumerate(items) if needs_label(item)])
        if refused is not None:
            return refused
        self._outcomes.add(outcomes)
        return Response(202, orjson.dumps({"accepted": len(items)}))

    def _take_labels(self, items: list[tuple[int, Any]]) -> Response | None:
        if not items:
            return None
        if self._feedback is None:
            return _error(503, "feedback needs the object store, which this server was started without")
        pairs = [_label(self._feedback, position, item) for position, item in items]
        now_ns = time.time_ns()
        if not all(self._feedback.add(response_id, now_ns, label) for response_id, label in pairs):
            return _error(503, "too many labels wait for the store; send them again later", b"retry-after: 10\r\n")
        return None


def _label(feedback: Feedback, position: int, item: Any) -> tuple[str, Any]:
    if not isinstance(item, dict):
        raise RequestError(f"[{position}]: expected an object with id and label, got {kind_of(item)}")
    response_id, label = item.get("id"), item.get("label")
    if not isinstance(response_id, str) or not 0 < len(response_id) <= 64:
        raise RequestError(f"[{position}]: id: expected the id of a response, got {kind_of(response_id)}")
    wrong = feedback.check(label)
    if wrong:
        raise RequestError(f"[{position}]: {wrong}, got {kind_of(label)}")
    return response_id, label


def _error(status: int, message: str, more: bytes = b"") -> Response:
    return Response(status, orjson.dumps({"error": message}), more)

"""The public port: routes, `POST /predict` with plain JSON rows, lineage headers, and what is counted and captured.

The hot path of the server. It answers every request that reaches it: 400 with what was wrong, 500 only when the model
itself raised. Never parses what it does not need. Called by `http`; the Open Inference Protocol is in `oip`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from fairlead.contract import env
from fairlead.contract.base import short
from fairlead.contract.jobs import ServeInput
from fairlead_runtime.signature import Signature

from .answered import Remember
from .capture import Capture
from .columns import Column, Columns, RequestError, Row, kind_of
from .counters import Writer
from .ids import ResponseIds
from .models import Model, ModelError, Outcome, split
from .row_answers import RowAnswers
from .wire import Request, Response

log = logging.getLogger("fairlead.serve")

MAX_ROWS = 100_000  # of one request; a worker answers one request at a time
_LOG_EVERY_S = 1.0  # a model that fails on every request must not fill the node's disk

Encode = Callable[[Outcome, str], Response]  # the answer of one row's outcome and a response id, or `RowAnswers`
Asked = tuple[Row, Encode]  # one checked row, which goes through the model together with others that waited
_STICKY = env.HEADER_STICKY.encode()
_ROW = (b'{"id":"', b'","predictions":[', b'],"probabilities":[[', b"]]}")  # the answer to one row
_PLAIN_ROW = (*_ROW[:2], b"]}", b"")  # of a model without probabilities
_COOKIE_S = 90 * 86400  # longer than any test of outcomes

Handler = Callable[[Request], "Response | Asked"]


class Route:
    """What answers one path (None: `/predict` itself); `counted` are the predictions, which the judge looks at."""

    __slots__ = ("counted", "handler", "method")

    def __init__(self, method: bytes, handler: Handler | None, *, counted: bool = False) -> None:
        self.method = method
        self.handler = handler
        self.counted = counted


class Answers:
    """Responses that carry who made them: version, digest, revision and an id of their own."""

    def __init__(self, document: ServeInput) -> None:
        self._ids = ResponseIds(document.revision)
        self._cookie = f"{env.COOKIE_ARM}={short(document.revision)}".encode()
        self._lineage = (
            b"".join(
                f"{name}: {value}\r\n".encode()
                for name, value in (
                    (env.HEADER_MODEL_VERSION, document.artifact.version),
                    (env.HEADER_MODEL_DIGEST, document.artifact.digest),
                    (env.HEADER_REVISION, document.revision),
                )
            )
            + f"{env.HEADER_RESPONSE_ID}: ".encode()
        )

    def keep(self, response: Response, path: bytes) -> None:
        """Ask the client to stay at this revision; what the server failed at binds nobody."""
        if response.status < 500 and path.startswith(b"/") and b";" not in path:
            response.headers += b"set-cookie: %b; Path=%b; Max-Age=%d; HttpOnly; SameSite=Lax\r\n" % (
                self._cookie,
                path,
                _COOKIE_S,
            )

    def new_id(self, now_ns: int) -> str:
        """Return a new response id; `now_ns` is Unix time."""
        return self._ids.next(now_ns)

    def make(self, status: int, body: bytes, response_id: str, more: bytes = b"") -> Response:
        """Return a response with the lineage headers."""
        return Response(status, body, b"%b%b\r\n%b" % (self._lineage, response_id.encode(), more))

    def error(self, status: int, message: str, more: bytes = b"") -> Response:
        """Return `{"error": message}`; text that is no UTF-8 never gets here, since bodies are decoded strictly."""
        return self.make(status, _dump_error(message), self.new_id(time.time_ns()), more)

    def failure(self, error: ModelError) -> Response:
        """Return the 500 of a model that raised."""
        return self.make(500, _dump_error(str(error)), error.response_id)

    def nowhere(self, path: str) -> Response:
        """Return the 404 of a path that nothing answers."""
        return self.error(404, f"there is nothing at {path}; predictions: POST /predict")

    def value(self, status: int, value: Any) -> Response:
        """Return a JSON value."""
        return self.make(status, orjson.dumps(value), self.new_id(time.time_ns()))


class Predictor:
    """One model with its columns: predicts, counts and captures, whatever protocol the values came by."""

    def __init__(
        self,
        model: Model,
        signature: Signature,
        counters: Writer,
        capture: Capture | None,
        remember: Remember | None = None,
    ) -> None:
        self.columns = Columns(signature)
        self.signature = signature
        self._model = model
        self._counters = counters
        self._capture = capture
        self._remember = remember
        self._last_log = 0.0

    def predict_rows(self, rows: Sequence[Row], ids: Sequence[str], now_ns: int) -> Outcome:
        """Return the outcome of checked rows, each a request of its own; raise ModelError if any of them does."""
        values = self.columns.matrix(rows)
        try:
            outcome = self._model.predict_rows(values)
        except ModelError as error:
            if len(rows) > 1:
                raise  # whose it was is not known yet
            raise self._failed(error, ids[0]) from error
        scores = _scores(outcome)
        self._counters.predicted(scores)
        self._counters.judged(outcome.firsts, scores)
        if self._remember is not None:
            for own, prediction in zip(ids, outcome.firsts, strict=True):
                self._remember.add(own, prediction)
        if self._capture is not None:
            self._capture.add_together(ids, now_ns, values, (outcome.firsts, scores))
        return outcome

    def predict(self, columns: Sequence[Column], response_id: str, now_ns: int) -> Outcome:
        """Return the outcome of checked columns; raise ModelError."""
        try:
            outcome = self._model.predict(columns)
        except ModelError as error:
            raise self._failed(error, response_id) from error
        scores = _scores(outcome)
        self._counters.predicted(scores)
        self._counters.judged(outcome.firsts[:1], scores[:1])
        if self._remember is not None:  # one of each request, by the id that feedback names
            self._remember.add(f"{response_id}.0" if len(scores) > 1 else response_id, outcome.firsts[0])
        if self._capture is not None and self._capture.wanted():
            self._capture.add_rows(response_id, now_ns, columns, (outcome.firsts, scores))
        return outcome

    def predict_batch(self, columns: Sequence[Column], answers: Answers) -> tuple[Outcome, str]:
        """Return the outcome of checked columns and the response id that it was counted and captured by."""
        now_ns = time.time_ns()
        response_id = answers.new_id(now_ns)
        return self.predict(columns, response_id, now_ns), response_id

    def _failed(self, error: ModelError, response_id: str) -> ModelError:
        now = time.monotonic()
        if now - self._last_log > _LOG_EVERY_S:
            self._last_log = now
            log.error("the model raised on a request that fits its signature (%s): %s", response_id, error)
        return ModelError(f"the model failed on this input ({error}); response {response_id}", response_id)


class PublicEndpoint:
    """Routes of the public port; implements `wire.Endpoint`."""

    def __init__(self, predictor: Predictor, answers: Answers, counters: Writer) -> None:
        self._predictor = predictor
        self._answers = answers
        self._counters = counters
        self._routes: dict[bytes, Route] = {}
        pieces = _ROW if predictor.signature.probability_output else _PLAIN_ROW
        self._respond_to_row = RowAnswers(answers.make, pieces)

    def add(self, path: str, route: Route) -> None:
        """Answer one exact path."""
        self._routes[path.encode()] = route

    def started(self, request: Request) -> None:
        """Find the route; count a prediction that waits."""
        route = request.route = self._routes.get(request.path)
        if route is not None and route.counted:
            self._counters.started()

    def answer(self, requests: Sequence[Request]) -> list[Response]:
        """Return the answers, each with a cookie for this revision where the route asks for one."""
        answers = self._answer(requests)
        for request, answer in zip(requests, answers, strict=True):
            if request.header(_STICKY) is not None:
                for name, value in request.headers:
                    if name.lower() == _STICKY:
                        self._answers.keep(answer, value)
        return answers

    def _answer(self, requests: Sequence[Request]) -> list[Response]:
        """Return the answers; single rows that waited together go through the model together."""
        answers = [self._begin(request) for request in requests]
        asked = [answer for answer in answers if isinstance(answer, tuple)]
        if not asked:
            return answers  # type: ignore[return-value]  # no tuple is among them
        predicted = iter(self._answer_rows(asked))
        return [next(predicted) if isinstance(answer, tuple) else answer for answer in answers]

    def _begin(self, request: Request) -> Response | Asked:
        """Return the answer, or the one row to predict for it and how to answer then."""
        route = request.route
        try:
            if request.refusal or route is None or request.method != route.method:
                return self._turn_away(request, route)
            answer: Response | Asked = self._predict(request) if route.handler is None else route.handler(request)
        except RequestError as error:
            return self._answers.error(error.status, str(error))
        except ModelError as error:
            return self._answers.failure(error)
        except Exception:
            log.exception("answering %s raised", _shown(request.path))
            return self.refuse(request, 500, "internal error; the server's log says more")
        return answer

    def _turn_away(self, request: Request, route: Route | None) -> Response:
        """Return the answer to what no handler gets to see."""
        path = _shown(request.path)
        if request.refusal:
            return self.refuse(request, request.refusal, request.reason)
        if route is None:
            return self._answers.nowhere(path)
        message = f"{path} takes {route.method.decode()}, got {_shown(request.method)}"
        return self._answers.error(405, message, b"allow: %b\r\n" % route.method)

    def _answer_rows(self, asked: Sequence[Asked]) -> list[Response]:
        now_ns = time.time_ns()
        ids = [self._answers.new_id(now_ns) for _ in asked]
        try:
            outcome = self._predictor.predict_rows([row for row, _ in asked], ids, now_ns)
        except ModelError as error:
            if len(asked) == 1:
                return [self._answers.failure(error)]
            return [self._answer_rows([one])[0] for one in asked]  # one that raises spoils no other
        first = asked[0][1]
        if isinstance(first, RowAnswers) and all(encode is first for _, encode in asked):
            return first.each(outcome.predictions, outcome.probabilities, ids)
        return [encode(one, own) for own, one, (_, encode) in zip(ids, split(outcome), asked, strict=True)]

    def refuse(self, request: Request, status: int, reason: str) -> Response:
        """Return the answer to what the wire refused."""
        return self._answers.error(status, reason, b"retry-after: 1\r\n" if status == 503 else b"")

    def finished(self, requests: Sequence[Request], statuses: Sequence[int], now_ns: int) -> None:
        """Count the answers; those that came in one turn of the loop and ended alike together."""
        alike: dict[tuple[int, int], int] = {}
        for request, status in zip(requests, statuses, strict=True):
            counted = request.route is not None and request.route.counted
            key = (status, request.parsed_ns if counted else 0)
            alike[key] = alike.get(key, 0) + 1
        for (status, parsed_ns), count in alike.items():
            self._counters.code(status, count)
            if parsed_ns:
                self._counters.answered(status, now_ns - parsed_ns, count)

    def _predict(self, request: Request) -> Response | Asked:
        document = parse_json(request)
        columns = self._predictor.columns
        rows = document.get("rows") if isinstance(document, dict) else None
        if rows is None or ("rows" in columns.names and not isinstance(rows, list)):
            return columns.row(document), self._respond_to_row
        if not isinstance(rows, list) or not 0 < len(rows) <= MAX_ROWS:
            got = f"{len(rows)} rows" if isinstance(rows, list) else kind_of(rows)
            raise RequestError(f"rows: expected a list of 1 to {MAX_ROWS} objects, got {got}")
        return (columns.row(rows[0]), self._respond_to_row) if len(rows) == 1 else self._many(rows)

    def _many(self, rows: list[Any]) -> Response:
        return self._respond(*self._predictor.predict_batch(self._predictor.columns.rows(rows), self._answers))

    def _respond(self, outcome: Outcome, response_id: str) -> Response:
        value: dict[str, Any] = {"id": response_id, "predictions": outcome.predictions}
        if outcome.probabilities is not None:
            value["probabilities"] = outcome.probabilities
        return self._answers.make(200, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), response_id)


def parse_json(request: Request) -> Any:
    """Return the body's JSON value; raise RequestError, 415 for an encoding that is not ours."""
    try:
        return load_json(request.body)
    except RequestError:
        encoding = request.header(b"content-encoding")
        if encoding not in (None, b"identity"):
            raise RequestError(f"content-encoding {_shown(encoding)}: send the body as it is", 415) from None
        raise


def load_json(body: bytes) -> Any:
    """Return a JSON value; raise RequestError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        message = f"the body is not JSON: {error}" if body else "expected a JSON object, got an empty body"
        raise RequestError(message) from None


def _scores(outcome: Outcome) -> list[float]:
    """Return what is histogrammed and captured: of two classes the second's probability, of more the largest.

    A regression's own number; of several targets the first.
    """
    probabilities = outcome.probabilities
    if probabilities is not None:
        scores = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities.max(axis=1)
        found: list[float] = scores.tolist()
        return found
    return [float(value) if isinstance(value, (int, float)) else 0.0 for value in outcome.firsts]


def _dump_error(message: str) -> bytes:
    return orjson.dumps({"error": message.encode("utf-8", "replace").decode()})


def _shown(text: bytes | None) -> str:
    return (text or b"")[:200].decode("utf-8", "backslashreplace")

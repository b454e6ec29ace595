"""`POST /replay` on the public port: predicts one row, and neither counts nor captures it.

For the Job that sends captured requests to a candidate before its first user: what the judge counts are users. Without
the token, which only who holds the store's secret can make, there is nothing here. Called by `process`.
"""

from __future__ import annotations

import hmac
import time

import orjson

from fairlead.contract import env
from fairlead_runtime.signature import Signature

from .columns import Columns, RequestError
from .models import Model, ModelError
from .predict import Answers, PublicEndpoint, Route, parse_json
from .wire import Request, Response

_HEADER = env.HEADER_REPLAY.encode()


class Replay:
    """The route of one served version."""

    def __init__(self, model: Model, signature: Signature, answers: Answers, token: str) -> None:
        self._model = model
        self._columns = Columns(signature)
        self._answers = answers
        self._token = token.encode()

    def add_to(self, endpoint: PublicEndpoint) -> None:
        """Add the route."""
        endpoint.add(env.PATH_REPLAY, Route(b"POST", self._answer))

    def _answer(self, request: Request) -> Response:
        if not hmac.compare_digest(request.header(_HEADER) or b"", self._token):
            raise RequestError(f"there is nothing at {env.PATH_REPLAY}; predictions: POST /predict", 404)
        row = self._columns.row(parse_json(request))
        response_id = self._answers.new_id(time.time_ns())
        try:
            outcome = self._model.predict_rows([row])
        except ModelError as error:
            raise ModelError(str(error), response_id) from error
        value = {"id": response_id, "predictions": outcome.predictions}
        return self._answers.make(200, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), response_id)

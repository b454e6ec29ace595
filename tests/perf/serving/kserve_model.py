"""What KServe's own scikit-learn server does, on its SDK: joblib, one tensor in, probabilities out.

The package of that server (`sklearnserver`) is in no registry; its model class is these few calls. Run by the Python
of the peer's own environment, with the SDK's own arguments; MODEL is the path of the joblib file.
"""

from __future__ import annotations

import os
import sys

import joblib
import kserve
from kserve.utils.utils import get_predict_input, get_predict_response

if os.environ.get("LOGS") == "off":  # the SDK writes a line for each request otherwise
    kserve.logging.KSERVE_LOG_CONFIG["loggers"]["uvicorn.access"]["level"] = "ERROR"
    kserve.logging.KSERVE_LOG_CONFIG["loggers"]["kserve.trace"]["level"] = "ERROR"
    kserve.logging.KSERVE_LOG_CONFIG["loggers"]["kserve"]["level"] = "ERROR"


class SklearnModel(kserve.Model):
    """One joblib file."""

    def load(self) -> bool:
        self._model = joblib.load(os.environ["MODEL"])
        self.ready = True
        return True

    def predict(self, payload, headers=None):  # type: ignore[no-untyped-def]
        return get_predict_response(payload, self._model.predict_proba(get_predict_input(payload)), self.name)


if __name__ == "__main__":
    model = SklearnModel("tumor")
    model.load()
    sys.exit(kserve.ModelServer().start([model]))

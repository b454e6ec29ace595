"""A server of ours as a process of its own, for tests and benchmarks: an artifact in a folder, free ports, and an end.

`Served.start` returns when it is ready or raises with what it printed; `stop` sends SIGTERM and returns the exit code.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.running import free_ports

from fairlead.contract import env, keys
from fairlead.contract.jobs import ArtifactRef, Capture, ServeInput
from fairlead_runtime.artifact import MODEL_FILES, describe_artifact, write_artifact
from fairlead_runtime.signature import Signature
from fairlead_runtime.store import LocalStore

ROOT = Path(__file__).resolve().parents[2]
REVISION = "sha256:" + "5e" * 32
ABSENT = Path(__file__).parent / "absent"  # what the server's image does not have
START_S = 60.0


def free_port() -> int:
    """Return a port that nothing listens on now."""
    return free_ports(1)[0]


def store_artifact(root: Path, model: bytes, signature: Signature, form: str = "onnx") -> ArtifactRef:
    """Write an artifact as training does and return its reference."""
    files: dict[str, bytes | Path] = {
        MODEL_FILES[form]: model,
        keys.SIGNATURE: json.dumps(signature.to_json_object()).encode(),
    }
    manifest = describe_artifact(form, files, {})
    reference = ArtifactRef(
        namespace="test", model="tumor", version="tumor-1", digest=manifest.digest, trust_pickle=form == "joblib"
    )
    root.mkdir(parents=True, exist_ok=True)
    write_artifact(LocalStore(root), keys.model("test", "tumor", manifest.digest), manifest, files)
    return reference


@dataclass
class Served:
    """One running server."""

    folder: Path
    document: ServeInput
    environ: Mapping[str, str] = field(default_factory=dict)
    cpu: int | None = None
    module: str = "fairlead_runtime.serve"
    python: str = sys.executable
    prefix: list[str] = field(default_factory=list)  # a command that runs the server, such as one that limits its CPU
    port: int = 0
    grpc: int = 0
    control: int = 0
    metrics: int = 0
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, folder: Path, artifact: ArtifactRef, environ: Mapping[str, str] | None = None, **more: Any) -> Served:
        """Return a server that is not started, its store at `folder`/store."""
        more.setdefault("capture", Capture(percent=0))
        document = ServeInput(namespace="test", service="risk", revision=REVISION, artifact=artifact, **more)
        return cls(folder, document, environ or {})

    def start(self) -> Served:
        """Start the process and wait until it is ready; raise RuntimeError with its output if it ends instead."""
        self.port, self.control, self.metrics, self.grpc = (free_port() for _ in range(4))
        input_file = self.folder / "input.json"
        input_file.write_text(json.dumps(self.document.to_json_object()))
        work = Path(tempfile.mkdtemp(dir=self.folder))
        environ = {
            **os.environ,
            "PYTHONPATH": ":".join(map(str, (ABSENT, ROOT / "operator", ROOT / "images" / "runtime"))),
            env.INPUT_FILE: str(input_file),
            env.WORK_DIR: str(work),
            env.POD_NAME: "pod-1",
            "FAIRLEAD_STORE_ENDPOINT": f"file://{self.folder / 'store'}",
            "FAIRLEAD_TERMINATION_LOG": str(self.folder / "termination.json"),
            "FAIRLEAD_HOST": "127.0.0.1",
            "FAIRLEAD_PORT_HTTP": str(self.port),
            "FAIRLEAD_PORT_GRPC": str(self.grpc),
            "FAIRLEAD_PORT_CONTROL": str(self.control),
            "FAIRLEAD_PORT_METRICS": str(self.metrics),
            "FAIRLEAD_DRAIN_S": "0.2",
            **self.environ,
        }
        command = [self.python, "-m", self.module]
        if self.cpu is not None:
            command = ["taskset", "-c", str(self.cpu), *command]
        command = [*self.prefix, *command]
        with (self.folder / "server.log").open("wb") as output:
            self.process = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
        self._await_ready()
        return self

    def _await_ready(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log()}")
            try:
                self.get(self.control, "/readyz")
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"the server was not ready after {START_S} s:\n{self.log()}")

    def get(self, port: int, path: str) -> bytes:
        """Return the body of a GET; raise urllib's errors (all are OSError)."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bytes(answer.read())

    def arm(self) -> dict[str, Any]:
        """Return what /arm says."""
        return dict(json.loads(self.get(self.control, "/arm")))

    @property
    def pid(self) -> int:
        """Return the process id; raise RuntimeError if it was never started."""
        if self.process is None:
            raise RuntimeError("not started")
        return self.process.pid

    def log(self) -> str:
        """Return what the server printed."""
        return (self.folder / "server.log").read_text(errors="replace")

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.terminate()
        assert self.process is not None
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

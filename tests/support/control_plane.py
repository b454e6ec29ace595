"""A real kube-apiserver with its etcd, on 127.0.0.1, without kubelet or controllers."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.support.running import free_ports, running

ROOT = Path(__file__).resolve().parents[2]
START_S = 180.0  # patience with a machine that does other work too
ROOMY = {"GOGC": "400"}  # a quarter of kube-apiserver's time is its garbage collector's


@dataclass(frozen=True)
class ControlPlane:
    """Where it listens and how to speak to it as an administrator."""

    server: str
    token: str
    ca: Path
    folder: Path
    audit_log: Path

    def kubeconfig(self, user: str = "admin") -> Path:
        """Return a kubeconfig file of the administrator, or of `operator`, who may nothing until a role says so."""
        path = self.folder / f"kubeconfig-{user}"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.server, "certificate-authority": str(self.ca)}}],
            "users": [{"name": user, "user": {"token": f"{user}-{self.token}"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(document))
        return path


def find_binaries() -> Path:
    """Return the folder with kube-apiserver and etcd: KUBEBUILDER_ASSETS, else what the project's tooling makes."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if folder:
        return Path(folder)
    made = subprocess.run(
        [sys.executable, "-m", "hack.cluster", "control-plane"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise RuntimeError(f"no kube-apiserver and etcd; set KUBEBUILDER_ASSETS or mend this:\n{made.stderr[-2000:]}")
    return Path(made.stdout.strip().splitlines()[-1])


@contextlib.contextmanager
def control_plane(
    audit_rules: Sequence[Mapping[str, Any]] = ({"level": "Metadata"},), environment: Mapping[str, str] = ROOMY
) -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver, wait until they answer, and stop them in the end."""
    binaries, environment = find_binaries(), {**os.environ, **environment}
    folder = Path(tempfile.mkdtemp(prefix="fairlead-control-plane-"))
    client, peer, api = free_ports(3)
    plane = ControlPlane(
        f"https://127.0.0.1:{api}", secrets.token_hex(16), folder / "apiserver.crt", folder, folder / "audit.log"
    )
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(running(_etcd(binaries, folder, client, peer), folder / "etcd.log", environment))
        _prepare(folder, plane.token, audit_rules)
        command = _apiserver(binaries, folder, client, api)
        apiserver = stack.enter_context(running(command, folder / "apiserver.log", environment))
        _await_ready(plane, apiserver)
        yield plane


def _etcd(binaries: Path, folder: Path, client: int, peer: int) -> list[str]:
    return [
        str(binaries / "etcd"),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync=true",
        "--log-level=error",
    ]


def _prepare(folder: Path, token: str, audit_rules: Sequence[Mapping[str, Any]]) -> None:
    users = (f"admin-{token},admin,admin,system:masters", f"operator-{token},operator,operator")
    (folder / "tokens.csv").write_text("\n".join(users) + "\n")
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": list(audit_rules),
    }
    (folder / "audit.yaml").write_text(yaml.safe_dump(policy))
    subprocess.run(["openssl", "genrsa", "-out", str(folder / "sa.key"), "2048"], check=True, capture_output=True)


def _apiserver(binaries: Path, folder: Path, client: int, api: int) -> list[str]:
    return [
        str(binaries / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{client}",
        "--bind-address=127.0.0.1",
        f"--secure-port={api}",
        f"--cert-dir={folder}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'sa.key'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--disable-admission-plugins=ServiceAccount",
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",  # as OpenShift has it
        f"--audit-policy-file={folder / 'audit.yaml'}",
        f"--audit-log-path={folder / 'audit.log'}",
        "--audit-log-mode=blocking",
        "--v=0",
    ]


def _await_ready(plane: ControlPlane, apiserver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while not _is_ready(plane):
        if apiserver.poll() is not None or time.monotonic() > deadline:
            tail = (plane.folder / "apiserver.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"kube-apiserver did not become ready within {START_S:g} s:\n{tail}")
        time.sleep(0.1)


def _is_ready(plane: ControlPlane) -> bool:
    if not plane.ca.exists():
        return False
    request = urllib.request.Request(f"{plane.server}/readyz", headers={"Authorization": f"Bearer admin-{plane.token}"})
    try:
        context = ssl.create_default_context(cafile=str(plane.ca))
        with urllib.request.urlopen(request, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ssl.SSLError, OSError):
        return False

"""A real kube-controller-manager beside a control plane: garbage collector, Jobs, Deployments and more; no kubelet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.control_plane import ControlPlane, find_binaries
from tests.support.running import running

CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "job-controller",
    "cronjob-controller",
    "deployment-controller",
    "replicaset-controller",
    "clusterrole-aggregation-controller",
)


def _binary() -> Path:
    """Return kube-controller-manager, which lies beside the real kube-apiserver."""
    path = (find_binaries() / "kube-apiserver").resolve().with_name("kube-controller-manager")
    if not path.exists():
        raise RuntimeError(f"no {path}; `make cluster` builds it, else put it beside kube-apiserver")
    return path


@contextlib.contextmanager
def controller_manager(plane: ControlPlane, controllers: Sequence[str] = CONTROLLERS) -> Iterator[None]:
    """Run controllers as an administrator until the end of the block."""
    config = plane.kubeconfig()
    command = [
        str(_binary()),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        f"--controllers={','.join(controllers)}",
        f"--service-account-private-key-file={plane.folder / 'sa.key'}",
        f"--root-ca-file={plane.ca}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--secure-port=0",
        "--v=0",
    ]
    with running(command, plane.folder / "controllers.log"):
        yield

"""Argo CD on this machine's side of the cluster: its repository server, its application controller and a cache.

They are the real programs (`make argocd`), with Argo CD's own roles, ConfigMaps and CRDs in the namespace `argocd`, and
the health checks that docs/integrations holds. They end with the block, and what they brought is removed. Where the
cluster has an Argo CD already, the block does not begin.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import yaml
from hack.cluster import golang, settings
from hack.demo.cluster import CONTEXT, ROOT
from tests.e2e.team import eventually, kubectl
from tests.support.running import free_ports, running

NAMESPACE = "argocd"
HEALTH = ROOT / "docs" / "integrations" / "argocd-cm.yaml"
LOGS = ROOT / "artifacts" / "e2e" / "argocd"
OURS = "fairlead.dev/e2e=true"
ACCOUNT = "argocd-application-controller"
MODULE = "github.com/argoproj/argo-cd/v3"
EVERYWHERE = (  # of Argo CD's own manifests; what of them is not in a namespace
    "crds/application-crd.yaml",
    "crds/appproject-crd.yaml",
    "cluster-rbac/application-controller/argocd-application-controller-clusterrole.yaml",
    "cluster-rbac/application-controller/argocd-application-controller-clusterrolebinding.yaml",
)
INSIDE = (
    "base/config/argocd-cm.yaml",
    "base/config/argocd-rbac-cm.yaml",
    "base/config/argocd-cmd-params-cm.yaml",
    "base/config/argocd-gpg-keys-cm.yaml",
    "base/config/argocd-ssh-known-hosts-cm.yaml",
    "base/config/argocd-tls-certs-cm.yaml",
    "base/config/argocd-secret.yaml",
    "base/application-controller-roles/argocd-application-controller-sa.yaml",
    "base/application-controller-roles/argocd-application-controller-role.yaml",
    "base/application-controller-roles/argocd-application-controller-rolebinding.yaml",
)
PROJECT = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "AppProject",
    "metadata": {"name": "default", "namespace": NAMESPACE},
    "spec": {"sourceRepos": ["*"], "destinations": [{"namespace": "*", "server": "*"}]},
}


@contextlib.contextmanager
def argocd() -> Iterator[None]:
    """Run Argo CD for as long as the block lasts."""
    config, build = settings.load(), golang.argocd()
    assert golang.built(config, build), "there is no Argo CD here; `make argocd` builds it"
    manifests = golang.module_folder(config, build, MODULE) / "manifests"
    folder = Path(tempfile.mkdtemp(prefix="argocd-"))  # short: a socket lies in it
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(_remove, manifests)
        _install(manifests)
        _begin(stack, config.bin, folder)
        yield


def _install(manifests: Path) -> None:
    there = kubectl("get", "namespace", NAMESPACE, "-o", "json", check=False)
    labels = json.loads(there)["metadata"]["labels"] if there else {}
    assert not there or "fairlead.dev/e2e" in labels, f"the cluster has an Argo CD already: namespace {NAMESPACE}"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    kubectl("apply", "-f", "-", given=json.dumps(namespace))
    kubectl("label", "namespace", NAMESPACE, OURS, "--overwrite")
    flags = ("--server-side", "--force-conflicts")
    kubectl("apply", *flags, *_files(manifests, EVERYWHERE))
    kubectl("apply", *flags, "-n", NAMESPACE, *_files(manifests, INSIDE))
    kubectl("wait", "--for=condition=Established", "crd/applications.argoproj.io", "crd/appprojects.argoproj.io")
    kubectl("-n", NAMESPACE, "patch", "configmap", "argocd-cm", "--patch-file", str(HEALTH))  # as the page says
    kubectl("apply", *flags, "-f", "-", given=json.dumps(PROJECT))


def _remove(manifests: Path) -> None:
    """Also after a failure in the middle: what is not there is not missed."""
    kubectl("delete", "--ignore-not-found", *_files(manifests, EVERYWHERE))
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout=60s")


def _files(manifests: Path, names: Sequence[str]) -> list[str]:
    return [word for name in names for word in ("-f", str(manifests / name))]


def _begin(stack: contextlib.ExitStack, programs: Path, folder: Path) -> None:
    cache, repositories, health, metrics = (f"127.0.0.1:{port}" for port in free_ports(4))
    environment = _environment(folder)
    shared = ("--redis", cache, "--loglevel", "info")
    commands = {
        "redis": ("--address", cache),
        "repo-server": (
            *shared, "--disable-tls",
            "--address", "127.0.0.1", "--port", _port(repositories),
            "--metrics-address", "127.0.0.1", "--metrics-port", _port(health),
        ),
        "application-controller": (
            *shared, "--kubeconfig", environment["KUBECONFIG"], "--namespace", NAMESPACE,
            "--repo-server", repositories, "--repo-server-plaintext",
            "--metrics-port", _port(metrics), "--persist-resource-health",
            "--status-processors", "4", "--operation-processors", "2",
        ),
    }  # fmt: skip
    begun = {
        part: stack.enter_context(
            running([str(programs / f"argocd-{part}"), *words], LOGS / f"{part}.log", environment, ends_within_s=15)
        )
        for part, words in commands.items()
    }
    for part, address in (("repo-server", health), ("application-controller", metrics)):
        eventually(partial(_well, begun[part], part, address), f"Argo CD's {part} is not well: {LOGS}", 90)


def _environment(folder: Path) -> dict[str, str]:
    """All it reads and writes lies in one folder; the cluster it runs "in" is the one of its kubeconfig."""
    for name in ("tls", "ssh", "tmp"):
        (folder / name).mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "KUBECONFIG": str(_kubeconfig(folder)),
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_ASK_PASS_SOCK": str(folder / "ask-pass.sock"),
        "ARGOCD_TLS_DATA_PATH": str(folder / "tls"),
        "ARGOCD_SSH_DATA_PATH": str(folder / "ssh"),
    }


def _kubeconfig(folder: Path) -> Path:
    """Argo CD's own account, not the person's who runs the test: admission policies are there for it too."""
    words = ("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
    cluster = json.loads(kubectl(*words))["clusters"][0]["cluster"]
    token = kubectl("create", "token", ACCOUNT, "-n", NAMESPACE, "--duration=2h").strip()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": ACCOUNT, "namespace": NAMESPACE}}],
        "current-context": CONTEXT,
    }
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))
    return path


def _well(process: subprocess.Popen[bytes], part: str, address: str) -> bool:
    tail = (LOGS / f"{part}.log").read_text(errors="replace")[-1500:]
    assert process.poll() is None, f"Argo CD's {part} ended: {tail}"
    try:
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _port(address: str) -> str:
    return address.rpartition(":")[2]

"""What is installed into a running cluster: gateway, metrics, S3 server. Each waits until it serves.

Everything is applied, so doing it again changes nothing; images are in the node already where no
registry can be reached, and are pulled by the node elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import string
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import golang, versions
from hack.cluster.settings import Settings
from hack.cluster.shell import Log, StepError, ask, run

MANIFESTS = Path(__file__).parent / "manifests"
BUCKET = "fairlead"
# Not secrets: they open a server on loopback that holds what its user puts there.
S3_ACCESS_KEY = "fairlead"
S3_SECRET_KEY = "fairlead-dev-only"
WAIT_S = 120.0
# The API server gives a request that names no time 34 s, and none more than this.
REQUEST_TIMEOUT = "60s"
PATIENCE_S = 600.0
PAUSE_S = 3.0
SHELL_TIMEOUT_S = 60.0
# What kubectl and helm print when the API server was slow or away for a moment: asking again may help.
SLOW = re.compile(
    r"time-?out|timed out|deadline|was refused|connection (refused|reset)|\bEOF\b|etcdserver:|ServiceUnavailable"
    r"|unable to handle the request|no matches for kind|another operation .* in progress",
    re.IGNORECASE,
)
METRICS_API = "v1beta1.metrics.k8s.io"
GATEWAY_NAMESPACE = "envoy-gateway-system"
CHART_REFERENCE = "oci://docker.io/envoyproxy/gateway-helm"
VALUES = {
    "BUCKET": BUCKET,
    "ENVOY_GATEWAY_IMAGE": versions.ENVOY_GATEWAY_IMAGE,
    "ENVOY_IMAGE": versions.ENVOY_IMAGE,
    "METRICS_SERVER_IMAGE": versions.METRICS_SERVER_IMAGE,
    "S3_ACCESS_KEY": S3_ACCESS_KEY,
    "S3_SECRET_KEY": S3_SECRET_KEY,
    "SEAWEEDFS_IMAGE": versions.SEAWEEDFS_IMAGE,
}


def manifest(name: str) -> str:
    """A file of manifests/ with versions and keys filled in."""
    return string.Template((MANIFESTS / name).read_text()).substitute(VALUES)


def kubectl(settings: Settings, *words: str) -> list[str]:
    """A kubectl command line for this cluster, whatever the current context is."""
    return ["kubectl", "--context", settings.context, *words]


def patiently(log: Log, command: Sequence[str], stdin: str | None = None) -> None:
    """Runs what may be run twice, and does so when it failed of slowness; every other failure is final."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return run(log, command, stdin=stdin)
        except StepError:
            if not was_slow(log.tail(200)) or time.monotonic() > deadline:
                raise
        log.say("the cluster was too slow for that, or away: again")
        time.sleep(PAUSE_S)


def was_slow(lines: Sequence[str]) -> bool:
    """Whether the last command in a log ended because the cluster was slow."""
    starts = [index for index, line in enumerate(lines) if line.startswith("$ ")]
    return any(SLOW.search(line) for line in lines[starts[-1] + 1 if starts else 0 :])


def apply(settings: Settings, log: Log, text: str) -> None:
    """Server-side apply: the last writer of a field is on record, and big CRDs fit."""
    words = ("apply", "--server-side", "--force-conflicts", "--field-manager=fairlead-cluster")
    patiently(log, kubectl(settings, f"--request-timeout={REQUEST_TIMEOUT}", *words, "-f", "-"), stdin=text)


def wait_rollout(settings: Settings, log: Log, namespace: str, name: str) -> None:
    """Waits until every replica of a Deployment is up to date and available."""
    words = ("rollout", "status", f"deployment/{name}", "--timeout=300s")
    patiently(log, kubectl(settings, "-n", namespace, *words))


def metrics_server(settings: Settings, log: Log) -> None:
    """Usage of pods and nodes, for `kubectl top` and autoscalers."""
    apply(settings, log, manifest("metrics-server.yaml"))
    wait_rollout(settings, log, "kube-system", "metrics-server")
    apply(settings, log, manifest("metrics-api.yaml"))
    condition = ("wait", f"apiservice/{METRICS_API}", "--for=condition=Available")
    patiently(log, kubectl(settings, *condition, "--timeout=120s"))


def object_store(settings: Settings, log: Log) -> None:
    """The S3 server with its bucket; a bucket that is there is left as it is."""
    apply(settings, log, manifest("object-store.yaml"))
    wait_rollout(settings, log, "object-store", "object-store")
    shell = ("exec", "-i", "deploy/object-store", "--", "weed", "shell", "-master=127.0.0.1:9333")
    command = kubectl(settings, "-n", "object-store", *shell)
    deadline = time.monotonic() + WAIT_S
    while BUCKET not in (seen := _weed_shell(command, "s3.bucket.list")):
        if time.monotonic() > deadline:
            raise StepError(f"the S3 server does not make the bucket {BUCKET}: {seen[-300:]}")
        log.say(_weed_shell(command, f"s3.bucket.create -name {BUCKET}"))


def _weed_shell(command: list[str], line: str) -> str:
    """What one line of SeaweedFS's own shell answers; errors and silence come back as text too."""
    try:
        done = subprocess.run(
            command,
            input=f"{line}\n".encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SHELL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer to {line!r} within {SHELL_TIMEOUT_S:.0f} s"
    return done.stdout.decode("utf-8", "replace")


def gateway(settings: Settings, log: Log) -> None:
    """Gateway API, Envoy Gateway, and the Gateway `public` on its node port."""
    values = settings.cache / "envoy-gateway-values.yaml"
    values.write_text(manifest("envoy-gateway-values.yaml"))
    chart = _chart(settings)
    _gateway_crds(settings, log, chart)
    patiently(
        log,
        ["helm", "--kube-context", settings.context, "upgrade", "--install", "envoy-gateway",
         *chart, "--namespace", GATEWAY_NAMESPACE, "--create-namespace", "--skip-crds",
         "--values", str(values), "--wait", "--timeout", "300s"],
    )  # fmt: skip
    apply(settings, log, manifest("gateway.yaml"))
    condition = ("wait", "gateway/public", "--for=condition=Programmed", "--timeout=300s")
    patiently(log, kubectl(settings, "-n", "gateways", *condition))
    wait_rollout(settings, log, GATEWAY_NAMESPACE, "envoy-public")


def _gateway_crds(settings: Settings, log: Log, chart: Sequence[str]) -> None:
    """The chart's CRDs, before the chart: helm gives up at the first one that a slow API server times out."""
    crds = ask(["helm", "show", "crds", *chart], timeout_s=300)
    if not crds:
        raise StepError(f"helm does not show the CRDs of {chart[0]}; `helm show crds {' '.join(chart)}` says why")
    apply(settings, log, crds)
    established = ("wait", "crd", "--all", "--for=condition=Established", "--timeout=120s")
    patiently(log, kubectl(settings, *established))


def _chart(settings: Settings) -> list[str]:
    """The published chart; or, where the module was built, the same chart out of the module."""
    build = golang.tools()
    if not golang.built(settings, build):
        return [CHART_REFERENCE, "--version", versions.ENVOY_GATEWAY]
    chart = settings.cache / "charts" / f"gateway-helm-{versions.ENVOY_GATEWAY}"
    if not chart.exists():
        module = golang.module_folder(settings, build, "github.com/envoyproxy/gateway")
        partial = chart.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(module / "charts/gateway-helm", partial, copy_function=shutil.copyfile)
        fill = {"GatewayImage": versions.ENVOY_GATEWAY_IMAGE, "GatewayImagePullPolicy": "IfNotPresent"}
        template = string.Template((partial / "values.tmpl.yaml").read_text())
        (partial / "values.yaml").write_text(template.safe_substitute(fill))
        partial.rename(chart)
    return [str(chart)]


@dataclass(frozen=True)
class Addon:
    """One addon: how it is installed, the files that say what it is, and what shows it healthy."""

    name: str
    install: Callable[[Settings, Log], None]
    files: tuple[str, ...]
    deployments: tuple[tuple[str, str], ...]
    api: str = ""  # an APIService that the API server reaches it by: its Pods may be well, and that not

    def digest(self) -> str:
        """Tells one version of the addon from another."""
        text = "\0".join(manifest(name) for name in self.files) + versions.ENVOY_GATEWAY
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def healthy(self, settings: Settings) -> bool:
        """Whether this very version was installed before and serves now."""
        noted = ask(kubectl(settings, "-n", "kube-system", "get", "configmap", self._note(),
                            "-o", "jsonpath={.data.digest}"))  # fmt: skip
        return noted == self.digest() and self._serves(settings)

    def wait(self, settings: Settings) -> None:
        """Waits until it serves: a Deployment's word is an old one just after a restart."""
        deadline = time.monotonic() + WAIT_S
        while not self._serves(settings):
            if time.monotonic() > deadline:
                raise StepError(f"{self.name} does not serve after {WAIT_S:.0f} s: see `make cluster-status`")
            time.sleep(1)

    def _serves(self, settings: Settings) -> bool:
        ready = all(_pod_ready(settings, namespace, name) for namespace, name in self.deployments)
        return ready and (not self.api or _api_available(settings, self.api))

    def note(self, settings: Settings, log: Log) -> None:
        """Writes down in the cluster what was installed, for `healthy`."""
        text = json.dumps(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": self._note(), "namespace": "kube-system"},
                "data": {"digest": self.digest()},
            }
        )
        apply(settings, log, text)

    def _note(self) -> str:
        return f"fairlead-cluster-{self.name}"


PODS = '{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'


def _pod_ready(settings: Settings, namespace: str, deployment: str) -> bool:
    """Whether a Pod of the Deployment is ready, by what the kubelet says of the Pod itself."""
    listed = ask(kubectl(settings, "-n", namespace, "get", "pods", "-o", f"jsonpath={PODS}")) or ""
    lines = [line.split() for line in listed.splitlines()]
    return any(name.rsplit("-", 2)[0] == deployment and ready == ["True"] for name, *ready in lines)


def _api_available(settings: Settings, name: str) -> bool:
    """Whether the API server reaches what stands behind an APIService."""
    path = '{.status.conditions[?(@.type=="Available")].status}'
    return ask(kubectl(settings, "get", "apiservice", name, "-o", f"jsonpath={path}")) == "True"


ADDONS = (
    Addon(
        "gateway",
        gateway,
        ("envoy-gateway-values.yaml", "gateway.yaml"),
        ((GATEWAY_NAMESPACE, "envoy-gateway"), (GATEWAY_NAMESPACE, "envoy-public")),
    ),
    Addon("object-store", object_store, ("object-store.yaml",), (("object-store", "object-store"),)),
    Addon(
        "metrics-server",
        metrics_server,
        ("metrics-server.yaml", "metrics-api.yaml"),
        (("kube-system", "metrics-server"),),
        METRICS_API,
    ),
)

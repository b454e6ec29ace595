"""The Docker engine: finds it, installs it on Debian, starts and stops one of our own.

A machine that has an engine keeps it as it is. Only where none answers, and we are root on Debian,
is one installed and started by hand, with its pid written down so that only that one is ever stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hack.cluster import runc_capped
from hack.cluster.settings import Settings
from hack.cluster.shell import Log, StepError, ask, run, says

# Debian packages by the program that shows them to be there already.
ENGINE_PACKAGES = {
    "dockerd": ("docker.io", "containerd", "runc"),
    "docker": ("docker-cli",),  # a package of its own in newer Debian; part of docker.io before
    "iptables": ("iptables",),
}
BUILD_PACKAGES = {"mmdebstrap": ("mmdebstrap", "debian-archive-keyring"), "busybox": ("busybox-static",)}
WAIT_S = 60.0
PULL_ANSWER_S = 20.0
NO_CLIENT = """Docker is missing: there is no `docker` on PATH, and only root on Debian can install it here.
  Install Docker (Docker Desktop, Colima, or your distribution's package) and start it; then again."""
NOT_ALLOWED = """a Docker engine is there, but you may not use it: you are not in its group, `docker`.
  `sudo usermod -aG docker "$USER"`, log out and in again (or `newgrp docker`); then again."""
NO_ENGINE = """Docker is installed, but no engine answers, and only root on Debian can start one here.
  Start it (Docker Desktop or Colima: the app; Linux: `sudo systemctl start docker`); then again.
  If it runs: check DOCKER_HOST and `docker context ls`. The client says: {said}"""


def running() -> bool:
    """Whether an engine answers on the socket the docker client would use."""
    return bool(ask(["docker", "info", "--format", "{{.ServerVersion}}"], timeout_s=20))


def trouble() -> str | None:
    """What is in the way of using an engine and what to do about it; None when one answers."""
    if shutil.which("docker") is None:
        return NO_CLIENT
    words = ["docker", "info", "--format", "{{.ServerVersion}}"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return NO_ENGINE.format(said="nothing in 60 s")
    if done.returncode == 0 and done.stdout.strip():
        return None
    if "permission denied" in done.stderr.lower():
        return NOT_ALLOWED
    return NO_ENGINE.format(said=" ".join(done.stderr.split()) or "nothing")


def require() -> None:
    """StepError with what to do, unless an engine answers."""
    found = trouble()
    if found is not None:
        raise StepError(found)


def may_install() -> bool:
    """Root on Debian or one of its children: where apt may be used without asking for more."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def has_image(name: str) -> bool:
    """Whether the engine has an image of this name."""
    return ask(["docker", "image", "inspect", "--format", "{{.Id}}", name]) is not None


def pull(name: str, log: Log) -> None:
    """Pulls an image."""
    run(log, ["docker", "pull", name])


def can_pull(name: str) -> bool:
    """Whether a registry answers the engine for this image: its mirrors and its proxy count, not the client's.

    The pull is broken off once the image is found.
    """
    return says(["docker", "pull", name], "Pulling from", timeout_s=PULL_ANSWER_S)


def build_environment() -> dict[str, str]:
    """What `docker build` needs: the old builder where the client has no buildx of its own."""
    buildkit = ask(["docker", "buildx", "version"]) is not None
    return {"DOCKER_BUILDKIT": "1" if buildkit else "0"}


def install(packages: Mapping[str, Sequence[str]], log: Log) -> None:
    """Installs what is missing of these; the caller has said so on the screen."""
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run(log, ["apt-get", "update", "-q"], env=quiet)
    for program, names in packages.items():
        if shutil.which(program) is None:
            run(log, ["apt-get", "install", "-y", "-q", "--no-install-recommends", *names], env=quiet)


def installed(packages: Mapping[str, Sequence[str]]) -> bool:
    """Whether apt need not be asked for any of these."""
    return all(shutil.which(program) for program in packages)


def named(packages: Mapping[str, Sequence[str]]) -> str:
    """What `install` would install, for people."""
    return " ".join(name for program, names in packages.items() if not shutil.which(program) for name in names)


def folder(settings: Settings) -> Path:
    """Where our own engine's configuration, pid and log are."""
    return settings.cache / "docker"


def start(settings: Settings, log: Log) -> None:
    """Starts an engine and waits until it answers; nothing to do if one does."""
    if running():
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        require()
        return
    if Path("/run/systemd/system").exists() and ask(["systemctl", "start", "docker"]) is not None:
        _wait_running(log, None)
        return
    _drop_stale_pid()
    home = folder(settings)
    home.mkdir(parents=True, exist_ok=True)
    config = home / "daemon.json"
    config.write_text(json.dumps(_daemon_config(home), indent=2))
    with (home / "dockerd.log").open("ab") as out:
        process = subprocess.Popen(
            ["dockerd", "--config-file", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (home / "dockerd.pid").write_text(str(process.pid))
    log.say(f"dockerd has pid {process.pid}; its log: {home / 'dockerd.log'}")
    _wait_running(log, process)


def _drop_stale_pid() -> None:
    """Takes away what a killed engine left: it would not start beside a pid used by another by now."""
    note = Path("/var/run/docker.pid")
    if note.exists() and not _is_dockerd(int(note.read_text().strip() or 0)):
        note.unlink()


def _daemon_config(home: Path) -> dict[str, object]:
    """daemon.json: small logs, and the runtime that asks for less where less is to be had."""
    config: dict[str, object] = {
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "2"},
    }
    lacking = runc_capped.missing(runc_capped.bounding_set())
    if lacking:
        runtime = home / "runc-capped"
        script = home / "runc_capped.py"  # a copy: the engine outlives a checkout
        shutil.copyfile(runc_capped.__file__, script)
        words = f'"{sys.executable}" -I -S "{script}" "{shutil.which("runc")}"'
        runtime.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        runtime.chmod(0o755)
        config["runtimes"] = {"runc-capped": {"path": str(runtime)}}
        config["default-runtime"] = "runc-capped"
    return config


def _wait_running(log: Log, process: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if running():
            return
        if process is not None and process.poll() is not None:
            break
        time.sleep(0.3)
    raise StepError(f"dockerd did not come up; its log: {log.path.parent.parent / 'docker' / 'dockerd.log'}")


def stop(settings: Settings) -> str:
    """Stops the engine that `start` started, by its written pid, and says what it did."""
    note = folder(settings) / "dockerd.pid"
    if not note.exists():
        return "no engine of ours is running"
    pid = int(note.read_text())
    if not _is_dockerd(pid):
        note.unlink()
        return "the engine we started has ended already"
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + WAIT_S
    while _is_dockerd(pid):
        if time.monotonic() > deadline:
            raise StepError(f"dockerd (pid {pid}) has not ended after {WAIT_S:.0f} s")
        time.sleep(0.2)
    note.unlink()
    return f"dockerd (pid {pid}) stopped"


def _is_dockerd(pid: int) -> bool:
    """Whether the pid is still that dockerd: pids are used again."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state != "Z" and b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False

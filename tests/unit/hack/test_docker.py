"""The engine we start: only that one is ever stopped."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.cluster import docker
from hack.cluster.settings import Settings


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    (tmp_path / "docker").mkdir()
    return Settings(cache=tmp_path, cluster="fairlead", source="build", ports=False)


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps under the name that the test asks for."""
    with subprocess.Popen([request.param, "60"], executable=shutil.which("sleep")) as running:
        while request.param.encode() not in Path(f"/proc/{running.pid}/cmdline").read_bytes():
            assert running.poll() is None  # its name shows a moment after it was started
        yield running
        running.kill()


def note(config: Settings, pid: int) -> Path:
    """Writes a pid down as that of our engine."""
    path = docker.folder(config) / "dockerd.pid"
    path.write_text(str(pid))
    return path


@pytest.mark.parametrize("process", ["dockerd"], indirect=True)
def test_the_engine_of_the_written_pid_is_stopped(config: Settings, process: subprocess.Popen[bytes]) -> None:
    written = note(config, process.pid)
    assert "stopped" in docker.stop(config)
    assert process.wait(5) == -15
    assert not written.exists()


@pytest.mark.parametrize("process", ["editor"], indirect=True)
def test_a_pid_used_by_another_process_is_left_alone(config: Settings, process: subprocess.Popen[bytes]) -> None:
    written = note(config, process.pid)
    assert "ended already" in docker.stop(config)
    assert process.poll() is None
    assert not written.exists()


def test_without_an_engine_of_ours_nothing_is_stopped(config: Settings) -> None:
    assert "no engine of ours" in docker.stop(config)


def test_the_runtime_in_front_of_runc_is_there_only_where_something_is_missing(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = docker.folder(config)
    monkeypatch.setattr(docker.runc_capped, "bounding_set", lambda: -1)
    assert "runtimes" not in docker._daemon_config(home)
    monkeypatch.setattr(docker.runc_capped, "bounding_set", lambda: -1 ^ (1 << 24))
    assert docker._daemon_config(home)["default-runtime"] == "runc-capped"
    assert (home / "runc_capped.py").exists()

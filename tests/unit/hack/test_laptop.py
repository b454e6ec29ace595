"""What a person without root meets on the way of a registry: what is missing is named, what is there is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hack.cluster import __main__ as verbs
from hack.cluster import cluster, docker, graph, versions
from hack.cluster.settings import REPO, Settings
from hack.cluster.shell import Log, StepError, run, says
from hack.cluster.steps import Step

Program = Callable[[str, str], None]


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    return Settings(cache=tmp_path / "cache", cluster="laptop", source="registry", ports=False)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script on a PATH that has nothing else but a shell's own programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "sleep"):
        (folder / name).symlink_to(Path("/bin") / name)
    monkeypatch.setenv("PATH", str(folder))

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return write


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "may_install", lambda: False)


DENIED = 'echo "permission denied while trying to connect to the Docker daemon socket" >&2; exit 1'
STOPPED = 'echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock." >&2; exit 1'


@pytest.mark.usefixtures("program", "user")
def test_without_docker_the_message_says_where_to_get_it(config: Settings) -> None:
    with pytest.raises(StepError, match=r"no `docker` on PATH.*\n.*Install Docker"):
        graph.engine_steps(config)


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("verb", [verbs.up, verbs.down, verbs.load, verbs.status, verbs.images])
def test_outside_the_group_every_verb_says_how_to_join(
    config: Settings, program: Program, verb: Callable[[Settings], None]
) -> None:
    program("docker", DENIED)
    with pytest.raises(StepError, match=r"not in its group.*\n.*usermod -aG docker"):
        verb(config)


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("verb", [verbs.up, verbs.load, verbs.status, verbs.images])
def test_an_engine_that_is_stopped_is_to_be_started(
    config: Settings, program: Program, verb: Callable[[Settings], None]
) -> None:
    program("docker", STOPPED)
    with pytest.raises(StepError, match=r"(?s)no engine answers.*systemctl start docker.*Cannot connect"):
        verb(config)


def test_without_an_engine_there_is_no_cluster_to_remove(
    config: Settings, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program("docker", STOPPED)
    verbs.down(config)
    assert "so no cluster does" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tool", "prints", "good"),
    [
        ("kind", "kind v0.33.0 go1.26.8 linux/amd64", True),
        ("kind", "kind v0.26.0 go1.23.4 linux/amd64", False),
        ("helm", 'version.BuildInfo{Version:"v4.2.4", GoVersion:"go1.26.8"}', True),
        ("helm", 'version.BuildInfo{Version:"v3.7.2", GoVersion:"go1.16.10"}', False),
    ],
)
def test_a_tool_on_path_that_is_too_old_is_not_used(
    config: Settings, program: Program, tool: str, prints: str, good: bool
) -> None:
    program(tool, f"echo '{prints}'")
    (step,) = (step for step in graph.tool_steps(config, "registry") if step.name == f"tool-{tool}")
    assert step.fresh() == good


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(
    ("tool", "wanted"), [("kind", "kind 0.27 or newer"), ("helm", "helm 3.8"), ("kubectl", "1.33 to 1.35")]
)
def test_without_a_tool_and_without_go_the_message_says_which_version_to_install(
    config: Settings, tool: str, wanted: str
) -> None:
    (step,) = (step for step in graph.tool_steps(config, "registry") if step.name == f"tool-{tool}")
    assert not step.fresh()
    with pytest.raises(StepError, match=f"{wanted}.* is not on PATH.*\n.*Install it"):
        step.action(Log(config.logs / "tool.log"))


@pytest.mark.usefixtures("program")
def test_a_program_that_is_not_there_is_named(config: Settings) -> None:
    with pytest.raises(StepError, match="`kind` is not on PATH"):
        run(Log(config.logs / "delete.log"), ["kind", "delete", "cluster"])


def test_the_first_published_node_image_that_the_engine_can_pull_is_taken(
    config: Settings, program: Program, tmp_path: Path
) -> None:
    """The engine is asked, not the client: it may have a mirror or a proxy that the client has not."""
    wanted = versions.PUBLISHED_NODE_IMAGES[1]
    pulled = tmp_path / "pulled"
    program(
        "docker",
        f"""case "$*" in
        "pull {wanted}") echo "v1: Pulling from kindest/node"; touch {pulled};;
        "image inspect"*"{wanted}") test -f {pulled};;
        *) echo "manifest unknown" >&2; exit 1;;
        esac""".replace("touch", ":  >"),
    )
    assert graph.published_image() == wanted
    (step,) = (step for step in graph.cluster_steps(config, "registry", here=False) if step.name == "node-image")
    step.action(Log(config.logs / "node-image.log"))
    assert step.fresh()
    assert graph._node_image(config, "registry") == wanted


def test_no_published_node_image_names_those_that_were_tried(config: Settings, program: Program) -> None:
    program("docker", 'echo "manifest unknown" >&2; exit 1')
    (step,) = (step for step in graph.cluster_steps(config, "registry", here=False) if step.name == "node-image")
    log = Log(config.logs / "node-image.log")
    with pytest.raises(StepError, match=versions.PUBLISHED_NODE_IMAGES[-1]):
        step.action(log)
    assert "manifest unknown" in log.path.read_text()


def test_a_command_that_goes_on_is_ended_once_it_said_enough(program: Program) -> None:
    program("slow", "echo one; echo two; exec sleep 60")
    start = time.monotonic()
    assert says(["slow"], "two", timeout_s=30)
    assert not says(["slow"], "three", timeout_s=0.2)
    assert not says(["absent"], "two", timeout_s=30)
    assert time.monotonic() - start < 20


def test_the_cluster_that_is_there_is_looked_at_only_with_the_tools_in_place(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without kubectl a healthy cluster seems dead, and would be made again with all that is in it lost."""
    seen: list[str] = []

    def steps(names: tuple[str, ...]) -> list[Step]:
        return [Step(name, lambda _log, name=name: seen.append(name)) for name in names]  # type: ignore[misc]

    def healthy(_config: Settings) -> bool:
        seen.append("looked")
        return True

    monkeypatch.setattr(graph, "engine_steps", lambda _config: steps(("engine",)))
    monkeypatch.setattr(graph, "tool_steps", lambda _config, _source: steps(("tools",)))
    monkeypatch.setattr(graph, "cluster_steps", lambda _config, _source, here: steps((f"here={here}",)))
    monkeypatch.setattr(cluster, "exists", lambda _config: True)
    monkeypatch.setattr(cluster, "healthy", healthy)
    verbs.up(config)
    assert seen == ["engine", "tools", "looked", "here=True"]


def test_removing_a_cluster_makes_sure_of_kind_first(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(docker, "trouble", lambda: None)
    monkeypatch.setattr(graph, "kind_step", lambda _config: Step("tool-kind", lambda _log: seen.append("kind")))
    monkeypatch.setattr(cluster, "delete", lambda _config, _log: seen.append("delete"))
    verbs.down(config)
    assert seen == ["kind", "delete"]


def test_the_base_is_pulled_by_name_before_images_are_built(config: Settings) -> None:
    """Whether an image is fresh is told by its base's id: one that a builder pulls aside has none."""
    steps = {step.name: step for step in graph.image_steps(config, "registry")}
    assert all("base-image" in step.needs for name, step in steps.items() if name.startswith("image-"))


@pytest.mark.parametrize("path", ["images/operator/Dockerfile", "images/runtime/Dockerfile"])
def test_code_is_the_last_layer_with_every_builder(path: str) -> None:
    """BuildKit makes a layer of WORKDIR too; `cluster-load` sends only the last layer."""
    final = [stage for stage in (REPO / path).read_text().split("\nFROM ") if "\nENTRYPOINT" in stage]
    for stage in final:
        layers = [line for line in stage.splitlines() if line.startswith(("ADD", "COPY", "RUN", "WORKDIR"))]
        assert layers[-1].startswith("COPY --from=code")


def test_an_old_python_is_told_so(tmp_path: Path) -> None:
    code = f"import sys; sys.version_info = (3, 9, 6); sys.path.insert(0, {str(REPO)!r}); import hack.cluster"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env={**os.environ}, check=False
    )
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr

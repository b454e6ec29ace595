"""What is installed into a cluster whose API server is slow: asked for again, while real faults are told at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hack.cluster import addons, cluster
from hack.cluster.settings import Settings
from hack.cluster.shell import Log, StepError

Program = Callable[[str, str], None]
# As kubectl and helm printed them on a machine that was too slow for their first try.
TIMED_OUT = "Timeout: request did not complete within requested timeout - context deadline exceeded"
NOT_YET = "error: timed out waiting for the condition"
PROGRESS = 'error: deployment "object-store" exceeded its progress deadline'
AWAY = "The connection to the server 127.0.0.1:41207 was refused - did you specify the right host or port?"
WRONG = "error: error validating data: unknown field spec.replica"


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    (tmp_path / "cache").mkdir()
    return Settings(cache=tmp_path / "cache", cluster="slow", source="registry", ports=False)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "logs" / "step.log")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a script on PATH that writes down each call in `calls` before it does anything else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(addons, "PAUSE_S", 0.0)

    def write(name: str, script: str) -> None:
        head = f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/calls\ntries=$(grep -c "^{name} " {tmp_path}/calls)\n'
        (folder / name).write_text(f"{head}{script}\n")
        (folder / name).chmod(0o755)

    return write


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


@pytest.mark.parametrize("message", [TIMED_OUT, NOT_YET, PROGRESS, AWAY])
def test_what_failed_of_slowness_is_done_again(
    message: str, config: Settings, log: Log, program: Program, tmp_path: Path
) -> None:
    program("kubectl", f"cat >{tmp_path}/seen\n[ $tries -ge 3 ] || {{ echo '{message}'; exit 1; }}")
    addons.apply(config, log, "kind: ConfigMap\n")
    assert len(calls(tmp_path)) == 3
    assert (tmp_path / "seen").read_text() == "kind: ConfigMap\n"


def test_what_is_wrong_is_told_at_once(config: Settings, log: Log, program: Program, tmp_path: Path) -> None:
    """Even where the same step was slow before: only the last command's words count."""
    program("kubectl", f"case $tries in 1) echo '{TIMED_OUT}';; *) echo '{WRONG}';; esac; exit 1")
    with pytest.raises(StepError, match="exited 1"):
        addons.apply(config, log, "")
    assert len(calls(tmp_path)) == 2
    assert log.tail(1) == [WRONG]


def test_patience_ends(
    config: Settings, log: Log, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addons, "PATIENCE_S", -1.0)
    program("kubectl", f"echo '{TIMED_OUT}'; exit 1")
    with pytest.raises(StepError):
        addons.wait_rollout(config, log, "object-store", "object-store")
    assert len(calls(tmp_path)) == 1


def test_the_gateways_crds_come_before_its_chart(config: Settings, log: Log, program: Program, tmp_path: Path) -> None:
    """helm itself gives up at the first CRD that a slow API server times out."""
    crd = "kind: CustomResourceDefinition"
    program("helm", f'case "$*" in "show crds"*) echo "{crd}";; esac')
    program(
        "kubectl", f'case "$*" in *apply*) cat >>{tmp_path}/applied; [ $tries -ge 2 ] || {{ echo EOF; exit 1; }};; esac'
    )
    addons.gateway(config, log)
    order = calls(tmp_path)
    chart = next(index for index, line in enumerate(order) if "upgrade --install" in line)
    established = next(index for index, line in enumerate(order) if "Established" in line)
    assert established < chart
    assert sum("apply" in line for line in order[:established]) == 2
    assert "--skip-crds" in order[chart]
    assert (tmp_path / "applied").read_text().startswith(crd)


def test_a_chart_that_helm_cannot_read_is_named(config: Settings, log: Log, program: Program) -> None:
    program("helm", "exit 1")
    with pytest.raises(StepError, match=r"helm show crds oci://"):
        addons.gateway(config, log)


def test_a_bucket_that_is_slow_to_make_is_asked_for_again(
    config: Settings, log: Log, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addons, "SHELL_TIMEOUT_S", 0.5)
    program(
        "kubectl",
        f"""case "$*" in *exec*) read line; echo "$line" >>{tmp_path}/asked;; *) exit 0;; esac
case "$line" in *create*) touch {tmp_path}/made; exec sleep 5;; esac
[ ! -e {tmp_path}/made ] || echo fairlead""",
    )
    addons.object_store(config, log)
    assert (tmp_path / "asked").read_text().splitlines() == [
        "s3.bucket.list",
        "s3.bucket.create -name fairlead",
        "s3.bucket.list",
    ]
    assert "no answer" in log.tail(1)[0]


# As kind printed it on cgroup v2, where it waits for systemd in the node, and never for more than 30 s.
SLOW_BOOT = 'ERROR: failed to create cluster: could not find a log line that matches "Reached target .*Multi-User"'


def test_a_node_that_boots_slowly_is_made_again(config: Settings, log: Log, program: Program, tmp_path: Path) -> None:
    program("docker", "exit 0")
    program("kind", f"[ $tries -ge 3 ] || {{ echo '{SLOW_BOOT}'; exit 1; }}")
    cluster.create(config, "node:1", log)
    assert sum(line.startswith("kind create") for line in calls(tmp_path)) == 3


@pytest.mark.parametrize(("message", "tries"), [(SLOW_BOOT, cluster.BOOTS), ("ERROR: port is already allocated", 1)])
def test_a_node_that_cannot_be_made_is_told(
    message: str, tries: int, config: Settings, log: Log, program: Program, tmp_path: Path
) -> None:
    program("docker", "exit 0")
    program("kind", f"echo '{message}'; exit 1")
    with pytest.raises(StepError, match="kind"):
        cluster.create(config, "node:1", log)
    assert sum(line.startswith("kind create") for line in calls(tmp_path)) == tries

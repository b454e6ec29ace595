"""Which steps each verb consists of, on both ways to images. Nothing here asks an engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.cluster import docker, golang, graph, node_image, versions
from hack.cluster.settings import Settings
from hack.cluster.shell import StepError
from hack.cluster.steps import Step, order

ADDONS = {"gateway", "object-store", "metrics-server"}


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    return Settings(cache=tmp_path, cluster="fairlead", source="auto", ports=True)


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "running", lambda: False)
    monkeypatch.setattr(docker, "has_image", lambda _name: False)
    monkeypatch.setattr(golang, "check_go", lambda: None)


def names(steps: list[Step]) -> list[str]:
    """Names in the order in which they may run; also checks that the graph is whole."""
    return [step.name for step in order(steps)]


def test_the_way_of_packages_starts_with_the_longest_builds(config: Settings) -> None:
    found = names(graph.cluster_steps(config, "build", here=False))
    assert found[:2] == ["go-kubernetes", "go-tools"]
    assert found.index("node-image") < found.index("cluster") < min(found.index(name) for name in ADDONS)


def test_the_way_of_a_registry_builds_no_image(config: Settings) -> None:
    found = set(names(graph.cluster_steps(config, "registry", here=False)))
    assert found == {"node-image", "tool-kind", "tool-helm", "tool-kubectl", "tools", "cluster", *ADDONS}


@pytest.mark.parametrize("source", ["build", "registry"])
def test_a_cluster_that_is_here_is_kept(config: Settings, source: str) -> None:
    found = set(names(graph.cluster_steps(config, source, here=True)))
    assert {"tools", *ADDONS} <= found
    assert not {"cluster", "node-image"} & found


def test_a_node_image_made_before_is_not_made_again(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "running", lambda: True)
    monkeypatch.setattr(docker, "has_image", lambda name: name == node_image.tag(config))
    found = names(graph.cluster_steps(config, "build", here=False))
    assert not any(name.startswith(("root-", "wheel-")) for name in found)


def test_argo_cd_is_one_program_under_the_names_of_its_parts_and_no_part_of_a_cluster(config: Settings) -> None:
    assert names(graph.argocd_steps(config)) == ["go-argocd"]
    assert "argocd-repo-server" in graph.ARGOCD_PARTS
    for source in ("build", "registry"):
        assert "go-argocd" not in names(graph.cluster_steps(config, source, here=False))


def test_jobs_are_built_after_server(config: Settings) -> None:
    for source in ("build", "registry"):
        found = names(graph.image_steps(config, source))
        assert found.index("image-server") < found.index("image-jobs")
        assert ("base-images" in found) == (source == "build")


def test_without_an_engine_and_without_leave_to_install_one_the_message_says_what_to_do(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "may_install", lambda: False)
    monkeypatch.setattr(docker, "trouble", lambda: docker.NO_CLIENT)
    with pytest.raises(StepError, match="Install Docker"):
        graph.engine_steps(config)


def test_what_apt_installs_is_said_before(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "may_install", lambda: True)
    monkeypatch.setattr(docker.shutil, "which", lambda _name: None)
    notes = [step.note for step in graph.engine_steps(config)]
    assert any("docker.io" in note and "runc" in note for note in notes)


def test_the_source_is_found_once_and_kept(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "can_pull", lambda _name: True)
    assert graph.choose_source(config) == "registry"
    monkeypatch.setattr(docker, "can_pull", lambda _name: False)
    assert graph.choose_source(config) == "registry"


def test_no_image_and_no_leave_to_build_names_the_images(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "can_pull", lambda _name: False)
    monkeypatch.setattr(docker, "may_install", lambda: False)
    with pytest.raises(StepError, match=versions.PUBLISHED_NODE_IMAGES[0]):
        graph.choose_source(config)

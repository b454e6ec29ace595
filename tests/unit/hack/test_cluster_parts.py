"""The parts of hack/cluster that decide something and need no engine."""

from __future__ import annotations

import io
import ipaddress
import json
import re
import tarfile
from pathlib import Path

import pytest
import yaml
from hack.cluster import addons, archive, cluster, delta, golang, leftovers, node_image, runc_capped, settings, versions
from hack.cluster.settings import Settings


def make_settings(tmp_path: Path, name: str = "fairlead") -> Settings:
    return Settings(cache=tmp_path, cluster=name, source="build", ports=name == "fairlead")


def test_without_ports_takes_out_only_the_ports() -> None:
    text = cluster.without_ports(cluster.CONFIG.read_text())
    assert "extraPortMappings" not in text
    assert "hostPort" not in text
    assert "kubeadmConfigPatches" in text
    assert "imageGCHighThresholdPercent: 100" in text


def test_host_ports_listen_on_loopback_only() -> None:
    text = cluster.CONFIG.read_text()
    assert text.count("hostPort:") == text.count("listenAddress: 127.0.0.1") == 2


def test_files_that_the_node_mounts_are_there() -> None:
    for text in (cluster.CONFIG.read_text(), cluster.without_ports(cluster.CONFIG.read_text())):
        mounts = yaml.safe_load(text)["nodes"][0]["extraMounts"]
        assert mounts
        assert all((settings.REPO / mount["hostPath"]).is_file() for mount in mounts)


def test_another_cluster_gets_no_host_ports_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_CLUSTER", "second")
    monkeypatch.delenv("FAIRLEAD_PORTS", raising=False)
    assert not settings.load().ports
    monkeypatch.setenv("FAIRLEAD_PORTS", "on")
    assert settings.load().ports


def test_an_unknown_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_SOURCE", "guess")
    with pytest.raises(SystemExit, match="auto, registry or build"):
        settings.load()


@pytest.mark.parametrize("addon", addons.ADDONS, ids=lambda addon: addon.name)
def test_manifests_have_no_blank_left_to_fill(addon: addons.Addon) -> None:
    for name in addon.files:
        assert "${" not in addons.manifest(name)


@pytest.mark.parametrize("reached", ["True", "False"])
def test_an_addon_that_the_api_server_does_not_reach_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reached: str
) -> None:
    """After a restart of the node Pods may be ready, and `kubectl top` still fail."""
    (metrics,) = (addon for addon in addons.ADDONS if addon.name == "metrics-server")
    answers = {"configmap": metrics.digest(), "pods": "metrics-server-5f-x True", "apiservice": reached}

    def ask(command: list[str]) -> str:
        return next(answer for noun, answer in answers.items() if noun in command)

    monkeypatch.setattr(addons, "ask", ask)
    assert metrics.healthy(make_settings(tmp_path)) == (reached == "True")


def test_no_packet_to_a_pod_that_is_gone_leaves_the_node() -> None:
    """kube-proxy may know only Pods of before a restart, and their addresses may be somebody's out there."""
    (route,) = re.findall(r"ip route replace unreachable (\S+)", node_image.SCRIPT.read_text())
    assert ipaddress.ip_network(node_image.POD_SUBNET).subnet_of(ipaddress.ip_network(route))


def test_go_constants_adds_up_literals_and_names() -> None:
    source = 'const image = "a:1"\n\nconst text = `x: ` + image + `\ny: ` + image\n\nvar other = 1\n'
    assert node_image.go_constants(source) == {"image": "a:1", "text": "x: a:1\ny: a:1"}


def test_kubernetes_and_its_libraries_are_of_one_version() -> None:
    build = golang.kubernetes()
    requires = dict(build.requires)
    assert requires.pop("k8s.io/kubernetes") == versions.KUBERNETES
    assert set(requires.values()) == {versions.STAGING}


def test_a_build_is_keyed_by_versions_and_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = golang.tools().key()
    assert before == golang.tools().key()
    assert golang.kubernetes(["kubectl"]).key() != golang.kubernetes().key()
    monkeypatch.setattr(versions, "HELM", "v0.0.1")
    assert golang.tools().key() != before


def test_a_build_takes_its_own_version_of_what_others_require() -> None:
    engine = "github.com/argoproj/argo-cd/gitops-engine"
    assert f"replace {engine} => {engine} {versions.ARGO_ENGINE}\n" in golang.judges().go_mod()
    assert "replace" not in golang.tools().go_mod()


def test_argo_cd_is_built_on_the_libraries_that_it_names_itself() -> None:
    lines = golang.argocd().go_mod().splitlines()
    assert f"replace k8s.io/client-go => k8s.io/client-go {versions.ARGO_CD_SYNC_KUBERNETES}" in lines
    assert f"\tgithub.com/argoproj/argo-cd/v3 {versions.ARGO_CD_SYNC}" in lines


def test_a_half_done_build_is_not_taken_for_built(tmp_path: Path) -> None:
    build, config = golang.etcd(), make_settings(tmp_path)
    (build.folder(config) / "bin.partial").mkdir(parents=True)
    assert not golang.built(config, build)
    (build.folder(config) / "bin").mkdir()
    assert golang.built(config, build)


def test_archive_holds_a_shared_root_once_and_is_the_same_twice(tmp_path: Path) -> None:
    program, root = tmp_path / "program", tmp_path / "root.tar"
    program.write_text("#!")
    with tarfile.open(root, "w") as tar:
        tar.add(program, "etc/base")
    images = [
        archive.Image("one:1", {"/usr/bin/one": program}, ("/usr/bin/one",), root=root),
        archive.Image("two:1", {"/usr/bin/two": program}, root=root),
    ]
    archive.write(images, tmp_path / "a.tar")
    archive.write(images, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        names = tar.getnames()
        file = tar.extractfile("manifest.json")
        assert file is not None
        manifest = json.load(file)
    assert len(names) == len(set(names))
    assert [entry["RepoTags"] for entry in manifest] == [["one:1"], ["two:1"]]
    assert manifest[0]["Layers"][0] == manifest[1]["Layers"][0]


def test_only_images_without_any_name_left_are_replaced() -> None:
    there = {
        "docker.io/library/fairlead-jobs:dev": "sha256:new",
        "sha256:id-of-new": "sha256:new",
        "import-2026@sha256:new": "sha256:new",
        "sha256:id-of-old": "sha256:old",
        "import-2026@sha256:old": "sha256:old",
        "registry.k8s.io/pause:3.10.1": "sha256:pause",
        "sha256:id-of-pause": "sha256:pause",
    }
    assert cluster.replaced(there) == ["sha256:id-of-old", "import-2026@sha256:old"]


def test_a_delta_holds_the_code_and_names_the_layers_below() -> None:
    layer, container = b"code", delta.Archive()
    image = {
        "RootFS": {"Layers": ["sha256:base", "sha256:packages", "sha256:old-code"]},
        "Config": {"Env": ["A=1"], "Entrypoint": ["python"], "Cmd": None, "User": "65532:65532"},
    }
    delta.add_image(container, "docker.io/library/x:dev", image, {"sha256:base": 3, "sha256:packages": 5}, layer)
    with tarfile.open(fileobj=io.BytesIO(container.tar())) as tar:
        blobs = {name: file.read() for name in tar.getnames() if (file := tar.extractfile(name))}
    (entry,) = json.loads(blobs["index.json"])["manifests"]
    manifest = json.loads(blobs[entry["digest"].replace("sha256:", "blobs/sha256/")])
    config = json.loads(blobs[manifest["config"]["digest"].replace("sha256:", "blobs/sha256/")])
    assert entry["annotations"] == {"io.containerd.image.name": "docker.io/library/x:dev"}
    assert [layer["size"] for layer in manifest["layers"]] == [3, 5, 4]
    assert config["rootfs"]["diff_ids"][:2] == ["sha256:base", "sha256:packages"]
    assert config["config"] == {"Env": ["A=1"], "Entrypoint": ["python"], "User": "65532:65532"}
    assert blobs[manifest["layers"][2]["digest"].replace("sha256:", "blobs/sha256/")] == layer


def test_code_is_moved_below_its_folder(tmp_path: Path) -> None:
    (tmp_path / "fairlead").mkdir()
    (tmp_path / "fairlead" / "a.py").write_text("1")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(tmp_path / "fairlead", "fairlead")
    with tarfile.open(fileobj=io.BytesIO(delta.moved(out.getvalue(), "opt"))) as tar:
        assert tar.getnames() == ["opt/fairlead", "opt/fairlead/a.py"]


def test_a_mount_of_a_running_container_is_no_leftover() -> None:
    mounts = "\n".join(
        [
            "/dev/vda /var/lib/docker ext4 rw 0 0",
            "overlay /var/lib/docker/overlay2/live/merged overlay rw 0 0",
            "overlay /var/lib/docker/overlay2/dead/merged overlay rw 0 0",
            "nsfs /run/docker/netns/default nsfs rw 0 0",
            "proc /proc proc rw 0 0",
        ]
    )
    in_use = {"/var/lib/docker/overlay2/live/merged"}
    assert leftovers.stray_mounts(mounts, in_use) == ["/var/lib/docker/overlay2/dead/merged"]


BOUNDS_WITHOUT_RESOURCE = (1 << len(runc_capped.NAMES)) - 1 - (1 << 24)


def test_runc_capped_names_what_is_missing() -> None:
    assert runc_capped.missing(BOUNDS_WITHOUT_RESOURCE) == {"CAP_SYS_RESOURCE"}
    assert runc_capped.missing((1 << 64) - 1) == set()


def test_runc_capped_rewrites_a_bundle(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    sets = {kind: ["CAP_SYS_RESOURCE", "CAP_KILL"] for kind in ("bounding", "effective")}
    config.write_text(json.dumps({"process": {"capabilities": sets}, "root": {}}))
    runc_capped.rewrite(config, {"CAP_SYS_RESOURCE"}, bundle=True)
    written = json.loads(config.read_text())
    assert written["process"]["capabilities"] == {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]}


def test_runc_capped_leaves_alone_what_asks_for_nothing_missing(tmp_path: Path) -> None:
    process = tmp_path / "process.json"
    process.write_text('{ "args": ["sh"] }')
    runc_capped.rewrite(process, {"CAP_SYS_RESOURCE"}, bundle=False)
    assert process.read_text() == '{ "args": ["sh"] }'


def test_runc_capped_reads_both_spellings_of_an_option() -> None:
    assert runc_capped.option(["create", "--bundle", "/b", "id"], "--bundle", "-b") == "/b"
    assert runc_capped.option(["create", "--bundle=/b", "id"], "--bundle", "-b") == "/b"
    assert runc_capped.option(["start", "id"], "--bundle", "-b") is None

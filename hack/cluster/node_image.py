"""Builds the node image where the published one cannot be had.

A Debian root, kind's own static files (from kind's module), the programs built from Go modules, and
every image the cluster needs inside its containerd, under the names that registries give them. The
work inside the root is node/provision.sh; the container it runs in is always removed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

from hack.cluster import archive, debian, docker, golang, versions, wheels
from hack.cluster.settings import Settings
from hack.cluster.shell import Log, StepError, ask, run

SCRIPT = Path(__file__).parent / "node" / "provision.sh"
NODE_PROGRAMS = ("kubelet", "kubeadm", "kubectl")
POD_SUBNET = "10.244.0.0/24"
CNI = {
    "cniVersion": "0.4.0",
    "name": "fairlead",
    "plugins": [
        {
            "type": "ptp",
            "ipMasq": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": POD_SUBNET}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
# kind applies this file at create; the network itself is the CNI configuration in the image.
CNI_MANIFEST = """apiVersion: v1
kind: ConfigMap
metadata:
  name: node-network
  namespace: kube-system
data:
  description: ptp with host-local addresses, from /etc/cni/net.d of the node image
"""
REVISION = 1  # raise when this file changes what it makes


def tag(settings: Settings) -> str:
    """The node image's name: its Kubernetes version and a digest of all that goes into it."""
    parts = [
        str(REVISION),
        SCRIPT.read_text(),
        json.dumps(CNI),
        golang.kubernetes().key(),
        golang.tools().key(),
        debian.NODE.tar(settings).name,
        debian.NET.tar(settings).name,
        wheels.ENVOY.path(settings).name,
        wheels.SEAWEEDFS.path(settings).name,
    ]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    return f"fairlead-node:{versions.KUBERNETES}-{digest}"


def build(settings: Settings, log: Log) -> None:
    """Builds the image; only the last command gives it its name."""
    work = settings.cache / "node.work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    log.say("writing the images that go into the node")
    _prepare(settings, work)
    root = f"fairlead-node-root:{debian.NODE.tar(settings).stem}"
    if not docker.has_image(root):
        run(log, ["docker", "import", debian.NODE.tar(settings), root])
    name = f"fairlead-node-build-{settings.cluster}"
    ask(["docker", "rm", "--force", "--volumes", name])
    try:
        run(
            log,
            ["docker", "run", "--name", name, "--privileged", "--network", "none",
             "--stop-signal", "SIGRTMIN+3", "--volume", f"{work}:/in:ro", root, "/bin/bash", "/in/provision.sh"],
        )  # fmt: skip
        changes = ['ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]', "ENV container=docker",
                   "CMD []"]  # fmt: skip
        words = [word for change in changes for word in ("--change", change)]
        run(log, ["docker", "commit", *words, name, tag(settings)])
    finally:
        ask(["docker", "rm", "--force", "--volumes", name])
        shutil.rmtree(work, ignore_errors=True)


def _prepare(settings: Settings, work: Path) -> None:
    """Lays out the folder that the provisioning container sees as /in."""
    tools = golang.tools()
    source = golang.module_folder(settings, tools, "sigs.k8s.io/kind")
    shutil.copytree(source / "images/base/files", work / "kind-files", copy_function=shutil.copy)
    shutil.copy(SCRIPT, work / "provision.sh")
    (work / "programs").mkdir()
    for name in NODE_PROGRAMS:
        shutil.copy(golang.kubernetes().folder(settings) / "bin" / name, work / "programs" / name)
    storage = (source / "pkg/build/nodeimage/const_storage.go").read_text()
    constants = go_constants(storage)
    (work / "manifests").mkdir()
    (work / "manifests/default-storage.yaml").write_text(constants["defaultStorageManifest"])
    (work / "manifests/default-cni.yaml").write_text(CNI_MANIFEST)
    (work / "10-fairlead.conflist").write_text(json.dumps(CNI, indent=2))
    (work / "version").write_text(versions.KUBERNETES)
    names = kubeadm_images(settings)
    (work / "pause-image").write_text(names["pause"])
    images = cluster_images(settings, names)
    images += storage_images(settings, constants, _busybox())
    archive.write(images, work / "images.tar")


GO_TERM = r"(?:`[^`]*`|\"[^\"\n]*\"|\w+)"


def go_constants(source: str) -> dict[str, str]:
    """String constants of a Go file: literals, and sums of literals and earlier constants."""
    found: dict[str, str] = {}
    pattern = rf"^const (\w+) = ({GO_TERM}(?: \+ {GO_TERM})*)"
    for name, terms in re.findall(pattern, source, re.MULTILINE):
        words = re.findall(GO_TERM, terms)
        found[name] = "".join(word[1:-1] if word[0] in '`"' else found[word] for word in words)
    return found


def kubeadm_images(settings: Settings) -> dict[str, str]:
    """Image names as kubeadm wants them, by the last word of their path."""
    kubeadm = golang.kubernetes().folder(settings) / "bin" / "kubeadm"
    listed = ask([kubeadm, "config", "images", "list", "--kubernetes-version", versions.KUBERNETES])
    if not listed:
        raise StepError("kubeadm does not list its images")
    return {line.split("/")[-1].split(":")[0]: line for line in listed.splitlines()}


def cluster_images(settings: Settings, names: dict[str, str]) -> list[archive.Image]:
    """The control plane, and what is installed into the cluster afterwards."""
    kube = golang.kubernetes().folder(settings) / "bin"
    tools = golang.tools().folder(settings) / "bin"
    net = debian.NET.tar(settings)
    local = "/usr/local/bin/"
    plain = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    images = [archive.Image(names[name], {local + name: kube / name}) for name in plain]
    gateway = "envoy-gateway"
    return [
        *images,
        archive.Image(names["kube-proxy"], {f"{local}kube-proxy": kube / "kube-proxy"}, root=net),
        archive.Image(names["etcd"], {f"{local}etcd": tools / "server"}),
        archive.Image(names["coredns"], {"/coredns": tools / "coredns"}, ("/coredns",)),
        archive.Image(names["pause"], {"/pause": tools / "pause"}, ("/pause",)),
        archive.Image(
            versions.METRICS_SERVER_IMAGE,
            {"/metrics-server": tools / "metrics-server"},
            ("/metrics-server",),
        ),
        archive.Image(
            versions.ENVOY_GATEWAY_IMAGE,
            {local + gateway: tools / gateway},
            (local + gateway,),
        ),
        archive.Image(
            versions.ENVOY_IMAGE,
            {f"{local}envoy": wheels.ENVOY.path(settings)},
            (f"{local}envoy",),
            root=net,
        ),
        archive.Image(
            versions.SEAWEEDFS_IMAGE,
            {"/usr/bin/weed": wheels.SEAWEEDFS.path(settings)},
            ("/usr/bin/weed",),
        ),
    ]


def storage_images(settings: Settings, constants: dict[str, str], busybox: Path) -> list[archive.Image]:
    """The local-path provisioner and its helper, named as kind's storage manifest names them."""
    program = "local-path-provisioner"
    source = golang.tools().folder(settings) / "bin" / program
    links = {f"/bin/{name}": "busybox" for name in ("sh", "mkdir", "rm")}
    return [
        archive.Image(constants["storageProvisionerImage"], {f"/usr/local/bin/{program}": source}),
        archive.Image(constants["storageHelperImage"], {"/bin/busybox": busybox}, links=links),
    ]


def _busybox() -> Path:
    """A shell for the provisioner's helper pod, out of Debian's static busybox."""
    found = shutil.which("busybox")
    if found is None:
        raise StepError("busybox is missing: install the package busybox-static")
    return Path(found)

"""Every version the cluster is made of, in one place, because caches are keyed by them."""

from __future__ import annotations

from typing import Final

# 1.34 is the last minor version whose kubelet runs on cgroup v1 without a switch.
KUBERNETES: Final = "v1.34.4"
# Tried in this order where a registry can be reached; kind publishes not every patch release.
PUBLISHED_NODE_IMAGES: Final = (
    f"kindest/node:{KUBERNETES}",
    "kindest/node:v1.34.3",
    "kindest/node:v1.34.0",
)
STAGING: Final = KUBERNETES.replace("v1.", "v0.", 1)

KIND: Final = "v0.33.0"
# The newest helm 3 whose Kubernetes libraries are those of Envoy Gateway: one compile serves both.
HELM: Final = "v3.21.4"
ETCD: Final = "v3.6.16"
COREDNS: Final = "v1.14.7"
ENVOY_GATEWAY: Final = "v1.9.1"
METRICS_SERVER: Final = "v0.9.0"
LOCAL_PATH: Final = "v0.0.30"
ENVOY: Final = "1.40.0"
SEAWEEDFS: Final = "4.48"
DEBIAN: Final = "trixie"
# What judges a status in tests: the newest of each that builds with Go 1.26, on the same Kubernetes libraries.
ARGO_CD: Final = "v3.5.7"
ARGO_ENGINE: Final = "v0.0.0-20260914071520-c9c369efcc5b"
FLUX_RUNTIME: Final = "v0.110.0"
HELM_4: Final = "v4.2.4"
KSTATUS: Final = "v1.2.2"
JUDGES_KUBERNETES: Final = "v0.36.3"
# What syncs in tests of GitOps: the newest that compiles as a module, and what its go.mod replaces Kubernetes by.
ARGO_CD_SYNC: Final = "v3.1.16"
ARGO_CD_SYNC_KUBERNETES: Final = "v0.33.1"
# v3.13.0, as Go numbers it
PROMETHEUS: Final = "v0.313.0"
MIN_GO: Final = (1, 26)
# The first kind that knows the containerd 2 of published node images, the first helm that takes charts from registries.
MIN_KIND: Final = (0, 27)
MIN_HELM: Final = (3, 8)

# Names as the manifests use them. Where no registry can be reached, images built here carry the
# same names, so that the two ways end in the same cluster.
ENVOY_GATEWAY_IMAGE: Final = f"docker.io/envoyproxy/gateway:{ENVOY_GATEWAY}"
ENVOY_IMAGE: Final = f"docker.io/envoyproxy/envoy:distroless-v{ENVOY}"
METRICS_SERVER_IMAGE: Final = f"registry.k8s.io/metrics-server/metrics-server:{METRICS_SERVER}"
SEAWEEDFS_IMAGE: Final = f"docker.io/chrislusf/seaweedfs:{SEAWEEDFS}"
PUBLISHED_BASE_IMAGE: Final = "python:3.13-slim-trixie"
BUILT_BASE_IMAGE: Final = f"fairlead-base:{DEBIAN}"

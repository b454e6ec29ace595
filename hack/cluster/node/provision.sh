#!/bin/bash
# Makes a Debian root into a node as `kind` expects one. Runs once, as root in a privileged
# container of that root; /in holds kind's own static files, programs, images and manifests.
# The result is committed as the node image, so this ends with every process of its own gone.
set -o errexit -o nounset -o pipefail

copy_kind_files() {
  cp -r /in/kind-files/. /
  chmod 0755 /kind /kind/bin /kind/bin/* /usr/local/bin/*
  install -m 0755 /in/programs/* /usr/bin/
  ln -sf /usr/lib/systemd/systemd /sbin/init
  ln -sf /usr/bin/containerd /usr/local/bin/containerd
  mkdir -p /kind/manifests /etc/kubernetes/manifests /opt/cni/bin /etc/cni/net.d
  cp /in/manifests/* /kind/manifests/
  cp /in/version /kind/version
  cp /in/10-fairlead.conflist /etc/cni/net.d/
  for plugin in host-local loopback ptp portmap; do
    cp "/usr/lib/cni/${plugin}" /opt/cni/bin/
  done
}

# As in kind's own base image: only what a node in a container can run.
set_up_services() {
  find /lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete
  rm -f /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/*
  rm -f /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/basic.target.wants/*
  rm -f /lib/systemd/system/sockets.target.wants/*{udev,initctl}*
  mkdir -p /etc/systemd/journald.conf.d
  printf '[Journal]\nReadKMsg=no\n' >/etc/systemd/journald.conf.d/kind.conf
  systemctl enable kubelet.service containerd.service undo-mount-hacks.service
  systemctl mask systemd-binfmt.service
  # Raising limits and lowering the OOM score both need a capability that may be missing.
  sed -i -E '/^(OOMScoreAdjust|Limit[A-Z]+)=/d' /etc/systemd/system/containerd.service
}

set_up_containerd() {
  sed -i -e 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' \
    -e "s#sandbox_image = .*#sandbox_image = \"$(cat /in/pause-image)\"#" /etc/containerd/config.toml
  ctr oci spec |
    jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
      >/etc/containerd/cri-base.json
}

# The kubelet then tolerates what the missing capability forbids.
set_up_kubelet() {
  printf 'KUBELET_EXTRA_ARGS=--runtime-cgroups=/system.slice/containerd.service --feature-gates=KubeletInUserNamespace=true\n' \
    >/etc/default/kubelet
}

# A packet to a Service's address that kube-proxy has not rewritten yet, or that it rewrote to a Pod
# of before a restart, must not leave the node: on some networks something out there answers, and a
# long connection to it stays wrong for good. Pods that are there have routes of their own.
guard_cluster_ranges() {
  cat >/etc/systemd/system/cluster-range-guard.service <<'UNIT'
[Unit]
Description=Reject packets to Services that are not set up yet and to Pods that are gone
Before=kubelet.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/iptables -I OUTPUT -d 10.96.0.0/16 -j REJECT
ExecStart=/usr/sbin/iptables -I FORWARD -d 10.96.0.0/16 -j REJECT
ExecStart=/usr/sbin/ip route replace unreachable 10.244.0.0/16
[Install]
WantedBy=multi-user.target
UNIT
  systemctl enable cluster-range-guard.service
}

import_images() {
  containerd >/tmp/containerd.log 2>&1 &
  local pid=$!
  for _ in $(seq 100); do
    ctr version >/dev/null 2>&1 && break
    sleep 0.2
  done
  ctr -n k8s.io images import --no-unpack --all-platforms /in/images.tar
  ctr -n k8s.io images ls -q
  kill "${pid}"
  wait "${pid}" || true
  rm -rf /run/containerd /tmp/containerd.log
}

copy_kind_files
set_up_services
set_up_containerd
set_up_kubelet
guard_cluster_ranges
import_images

"""The files a node's components read."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth_cluster import node_config, pki
from hearth_cluster.errors import ClusterError
from hearth_cluster.node_config import NodeFiles

FILES = NodeFiles(Path("/state/a"), Path("/run/hearth/a"), Path("/cache/containerd/0"), Path("/cache/registry"))
ADDRESS = "10.200.7.1"
RENDERED = node_config.rendered(FILES, ADDRESS, "hearth-a", Path("/usr/lib/cni"), Path("/cache/bin/containerd"))


def toml(name: str) -> dict[str, Any]:
    return tomllib.loads(RENDERED[name])


def parsed(name: str) -> dict[str, Any]:
    document = yaml.safe_load(RENDERED[name])
    assert isinstance(document, dict)
    return document


def test_the_registrys_name_leads_to_the_clusters_own_registry() -> None:
    hosts = toml("certs.d/registry.hearth.internal/hosts.toml")
    assert hosts["server"] == "http://10.200.7.1:5000"
    assert parsed("registry.yaml")["http"]["addr"] == "10.200.7.1:5000"
    assert toml("containerd.toml")["plugins"]["io.containerd.cri.v1.images"]["registry"]["config_path"] == (
        "/state/a/config/certs.d"
    )


def test_the_registrys_blobs_are_shared_by_all_clusters() -> None:
    assert parsed("registry.yaml")["storage"]["filesystem"]["rootdirectory"] == "/cache/registry"


def test_pods_start_without_the_right_to_lower_their_oom_score() -> None:
    runtime = toml("containerd.toml")["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime["restrict_oom_score_adj"] is True


def test_nothing_of_a_pod_lies_outside_the_clusters_folders() -> None:
    runtime = toml("containerd.toml")
    assert runtime["plugins"]["io.containerd.cri.v1.runtime"]["netns_mounts_under_state_dir"] is True
    assert runtime["plugins"]["io.containerd.shim.v1.manager"]["socket_dir"] == "/run/hearth/a/s"
    conflist = json.loads(RENDERED["cni/10-hearth.conflist"])
    assert conflist["plugins"][0]["ipam"]["dataDir"] == "/run/hearth/a/cni"
    kubelet = parsed("kubelet.yaml")
    assert kubelet["podLogsDir"] == "/state/a/pod-logs"
    assert kubelet["cgroupRoot"] == "/hearth-a"


def test_a_socket_of_a_shim_fits_into_its_address() -> None:
    longest = NodeFiles(Path("/s"), Path("/run/hearth") / ("n" * 24), Path("/i"), Path("/r"))
    text = node_config.containerd(longest, Path("/c"), Path("/p"))
    directory = tomllib.loads(text)["plugins"]["io.containerd.shim.v1.manager"]["socket_dir"]
    assert len(directory) <= 42  # containerd refuses a longer one


def test_a_state_folder_too_deep_for_the_kubelets_sockets_is_refused_at_the_start() -> None:
    deepest = Path("/" + "h" * 71)
    for socket in node_config._STATE_SOCKETS:
        assert len(str(deepest / socket)) <= 107
    node_config.require_short(deepest)
    for deeper in (f"{deepest}h", f"/{'h' * 69}ä{'h' * 1}"):
        with pytest.raises(ClusterError, match="has 73 bytes, and a node's state folder may have 72"):
            node_config.require_short(Path(deeper))


def test_paths_with_spaces_reach_coredns_whole() -> None:
    files = NodeFiles(Path("/my state/a"), FILES.run, FILES.images, FILES.registry)
    assert '        kubeconfig "/my state/a/coredns.conf"\n' in node_config.corefile(files, ADDRESS)


def test_a_kubeconfig_that_could_not_be_made_is_made_by_the_next_try(tmp_path: Path) -> None:
    kubeadm = tmp_path / "kubeadm"
    kubeadm.write_text("#!/bin/sh\nexit 1\n")
    kubeadm.chmod(0o755)
    with pytest.raises(ClusterError):
        pki.ensure_user(kubeadm, tmp_path, "system:coredns", "coredns")
    kubeadm.write_text("#!/bin/sh\necho apiVersion: v1\n")
    pki.ensure_user(kubeadm, tmp_path, "system:coredns", "coredns")
    assert (tmp_path / "coredns.conf").read_text() == "apiVersion: v1\n"
    assert (tmp_path / "coredns.conf").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "coredns.tmp").exists()


def test_the_kubelet_accepts_the_machine_as_it_is() -> None:
    kubelet = parsed("kubelet.yaml")
    assert kubelet["failCgroupV1"] is False
    assert kubelet["failSwapOn"] is False
    assert kubelet["enforceNodeAllocatable"] == []


def test_a_volume_that_grew_is_noticed_within_seconds() -> None:
    assert parsed("kubelet.yaml")["syncFrequency"] == "10s"


def test_names_outside_the_cluster_fail_at_once() -> None:
    assert "rcode NXDOMAIN" in RENDERED["Corefile"]
    assert "forward" not in RENDERED["Corefile"]


@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
def test_the_dns_service_leads_to_coredns_on_the_node(protocol: str) -> None:
    service, slice_ = node_config.dns_objects(ADDRESS)[2:]
    assert service["spec"]["clusterIP"] == parsed("kubelet.yaml")["clusterDNS"][0]
    assert "selector" not in service["spec"]
    assert slice_["endpoints"][0]["addresses"] == [ADDRESS]
    for ports in (service["spec"]["ports"], slice_["ports"]):
        assert {"port": 53, "protocol": protocol}.items() <= next(p for p in ports if p["protocol"] == protocol).items()

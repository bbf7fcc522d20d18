"""Certificates and kubeconfigs of a cluster, made by kubeadm's own phases: no certificate code of our own."""

from __future__ import annotations

from pathlib import Path

import yaml

from hearth_cluster.addresses import ControlPlaneAddresses
from hearth_cluster.processes import Command, run_checked


def kubeadm_configuration(name: str, version: str, addresses: ControlPlaneAddresses, pki: Path) -> str:
    """kubeadm's configuration, as far as its `certs` and `kubeconfig` phases read it."""
    endpoint = f"{addresses.host}:{addresses.api_server}"
    cluster = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "clusterName": f"hearth-{name}",
        "kubernetesVersion": version,
        "certificatesDir": str(pki),
        "controlPlaneEndpoint": endpoint,
        # An elliptic key takes milliseconds where an RSA key takes a second: a control plane has a dozen of them.
        "encryptionAlgorithm": "ECDSA-P256",
        "networking": {"serviceSubnet": addresses.service_subnet, "dnsDomain": addresses.domain},
        "apiServer": {"certSANs": [addresses.host, "127.0.0.1", "localhost"]},
        "etcd": {"local": {"serverCertSANs": ["127.0.0.1"], "peerCertSANs": ["127.0.0.1"]}},
    }
    init = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": _advertised(addresses.host), "bindPort": addresses.api_server},
        "nodeRegistration": {"name": addresses.node_name, "criSocket": "unix:///run/none.sock"},
    }
    return yaml.safe_dump_all([cluster, init], sort_keys=False)


def _advertised(host: str) -> str:
    """kubeadm refuses a loopback address here, so an address of TEST-NET-2 (RFC 5737) stands in for it."""
    return "198.51.100.1" if host.startswith("127.") else host


def ensure_pki(kubeadm: Path, configuration: str, folder: Path, host: str) -> None:
    """Writes `pki/` and the kubeconfigs below `folder`; kubeadm keeps the files that are there and still fit."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "kubeadm.yaml"
    if source.exists() and source.read_text() == configuration and (folder / "pki.ready").exists():
        return
    (folder / "pki.ready").unlink(missing_ok=True)
    source.write_text(configuration)
    run_checked([kubeadm, "init", "phase", "certs", "all", "--config", source])
    run_checked([kubeadm, "init", "phase", "kubeconfig", "all", "--config", source, "--kubeconfig-dir", folder])
    for path in folder.glob("*.conf"):
        # The controller manager's and the scheduler's name the advertised address, where loopback has no listener.
        path.write_text(path.read_text().replace(f"https://{_advertised(host)}:", f"https://{host}:"))
    (folder / "pki.ready").touch()


def ensure_user(kubeadm: Path, folder: Path, user: str, name: str) -> None:
    """Writes `<name>.conf`, the kubeconfig of `user` with a certificate of its own, if it isn't there."""
    path = folder / f"{name}.conf"
    if not path.exists():
        command: Command = [kubeadm, "kubeconfig", "user", "--config", folder / "kubeadm.yaml", "--client-name", user]
        content = run_checked(command)
        scratch = path.with_suffix(".tmp")
        scratch.touch(mode=0o600)
        scratch.write_text(content)
        scratch.rename(path)  # whole or not at all: the next `up` takes it as it is

"""Addresses and ports of one control plane."""

from __future__ import annotations

from dataclasses import dataclass

SERVICE_SUBNET = "10.96.0.0/16"
POD_SUBNET = "10.244.0.0/16"
DNS_ADDRESS = "10.96.0.10"
DOMAIN = "cluster.local"


@dataclass(frozen=True)
class ControlPlaneAddresses:
    """Where the parts of a control plane listen: all of them on `host`, etcd and the metrics ports on loopback."""

    host: str
    api_server: int
    etcd_client: int
    etcd_peer: int
    controller_manager: int
    scheduler: int
    node_name: str = "control-plane"
    service_subnet: str = SERVICE_SUBNET
    domain: str = DOMAIN

"""Every cluster has a /24 of its own."""

from __future__ import annotations

import ipaddress

import pytest
from hearth_cluster import subnets
from hearth_cluster.errors import ClusterError

Network = ipaddress.IPv4Network


def test_a_name_gets_the_same_network_whenever_it_is_free() -> None:
    assert subnets.choose("hearth", []) == subnets.choose("hearth", [Network("192.168.0.0/16")])


def test_a_network_that_another_cluster_or_route_uses_is_passed_over() -> None:
    first = subnets.choose("hearth", [])
    second = subnets.choose("hearth", [first])
    third = subnets.choose("hearth", [first, Network(f"{second.network_address + 7}/32")])
    assert len({first, second, third}) == 3


def test_without_a_free_network_the_message_says_where_to_look() -> None:
    with pytest.raises(ClusterError, match="ip route"):
        subnets.choose("hearth", [Network("10.0.0.0/8")])


def test_the_default_route_and_other_families_occupy_nothing() -> None:
    assert subnets.parse_routes(["default", "0.0.0.0/0", "fe80::/64", "10.200.3.0/24", "192.0.2.2"]) == [
        Network("10.200.3.0/24"),
        Network("192.0.2.2/32"),
    ]


def test_node_and_machine_have_the_two_ends() -> None:
    network = Network("10.200.7.0/24")
    assert (subnets.node_address(network), subnets.host_address(network)) == ("10.200.7.1", "10.200.7.254")

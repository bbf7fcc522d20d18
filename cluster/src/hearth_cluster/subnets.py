"""A network of its own for every node: one /24 of 10.200.0.0/16, chosen by the cluster's name."""

from __future__ import annotations

import ipaddress
import json
import zlib
from collections.abc import Iterable

from hearth_cluster.errors import ClusterError
from hearth_cluster.processes import run_checked

Network = ipaddress.IPv4Network

CANDIDATES = tuple(ipaddress.IPv4Network("10.200.0.0/16").subnets(new_prefix=24))


def choose(name: str, used: Iterable[Network]) -> Network:
    """The first free network, counted from a place that depends on the name.

    So a name gets the same addresses whenever it can, and two clusters that come up at once rarely want the same.

    Raises:
        ClusterError: all are taken.
    """
    taken = list(used)
    first = zlib.crc32(name.encode()) % len(CANDIDATES)
    for network in CANDIDATES[first:] + CANDIDATES[:first]:
        if not any(network.overlaps(other) for other in taken):
            return network
    raise ClusterError(
        "no /24 of 10.200.0.0/16 is free; see `ip route`, and `hearth-cluster status` for other clusters"
    )


def routed() -> list[Network]:
    """Networks this machine has a route to, but for the default route, which covers everything."""
    routes = json.loads(run_checked(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]")
    return parse_routes([str(route["dst"]) for route in routes])


def parse_routes(destinations: Iterable[str]) -> list[Network]:
    """IPv4 networks among the destinations that `ip route` lists."""
    found = []
    for destination in destinations:
        try:
            network = ipaddress.IPv4Network(destination)
        except ValueError:
            continue
        if network.prefixlen > 0:
            found.append(network)
    return found


def node_address(network: Network) -> str:
    """The node's end of the link."""
    return str(network.network_address + 1)


def host_address(network: Network) -> str:
    """This machine's end of the link."""
    return str(network.broadcast_address - 1)

"""Where servers listen: free TCP ports, and whether anybody is behind a socket file."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

from hearth_cluster.errors import ClusterError

LOWEST = 16000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """`count` different ports that nobody listens on now.

    They lie below the range the kernel gives to outgoing connections. One from that range could be lost while its
    server restarts: to any client on the machine, or to the server's own client, which may even end up connected to
    itself. All are held until the last is found, so that none is given twice.

    Raises:
        ClusterError: there are not that many.
    """
    candidates = list(range(LOWEST, max(_first_ephemeral(), LOWEST + 1000)))
    random.shuffle(candidates)
    with ExitStack() as held:
        ports: list[int] = []
        for port in candidates:
            if len(ports) == count:
                break
            listener = held.enter_context(socket.socket())
            try:
                listener.bind((address, port))
            except OSError:
                continue
            ports.append(port)
    if len(ports) < count:
        raise ClusterError(f"{address} has only {len(ports)} free ports from {LOWEST} on, {count} are needed")
    return ports


def listens(path: Path) -> bool:
    """Whether a server accepts connections on the Unix socket; the file alone may be left from one that was killed."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _first_ephemeral() -> int:
    return int(_EPHEMERAL.read_text().split()[0])

"""Free TCP ports on one address."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """`count` different ports that nobody listens on now.

    They are all held until the last is found, so that none is given twice; another process may still take one before
    it is used, which shows as "address already in use" in the component's log.
    """
    with ExitStack() as held:
        ports = []
        for _ in range(count):
            listener = held.enter_context(socket.socket())
            listener.bind((address, 0))
            ports.append(int(listener.getsockname()[1]))
    return ports

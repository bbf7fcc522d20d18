"""Ports for servers that must find them again after a restart."""

from __future__ import annotations

import socket
from pathlib import Path

from hearth_cluster.ports import free_ports, listens


def test_ports_are_different_and_can_be_listened_on() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_no_outgoing_connection_can_take_them() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(free_ports(50)) < first


def test_a_socket_file_whose_server_is_gone_does_not_listen(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    assert not listens(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert listens(path)
    assert path.is_socket()
    assert not listens(path)

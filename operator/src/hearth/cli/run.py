"""`hearth run`: the operator, in a pod or beside a kubeconfig."""

from __future__ import annotations

import errno
import gc
import ipaddress
import os
import re
import socket
import uuid
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from hearth.kube.credentials import Credentials, CredentialsError, load
from hearth.kube.errors import ApiError, ConnectionFailedError
from hearth.kube.http_api import HttpApi
from hearth.kube.lease import LeadershipLostError
from hearth.kube.transport import Transport
from hearth.plan.settings import Settings
from hearth.runtime.definitions import MissingCrdsError
from hearth.runtime.kinds import KINDS
from hearth.runtime.logs import set_up
from hearth.runtime.metrics import Metrics
from hearth.runtime.operator import Operator, Options
from hearth.runtime.settings_file import SettingsError, read_settings

GARBAGE = 10_000
"""New containers after which the collector looks for cycles: a decoded object alone has a few hundred, and no cycle."""


class LogLevel(StrEnum):
    """Values of `--log-level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """Values of `--log-format`."""

    JSON = "json"
    TEXT = "text"


def run(
    settings: Annotated[Path, typer.Option(envvar="HEARTH_SETTINGS", help="YAML file with images and addresses.")],
    kubeconfig: Annotated[Path | None, typer.Option(help="Default: KUBECONFIG, then the pod's account.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", envvar="HEARTH_WATCH_NAMESPACES", help="Serve only these namespaces."),
    ] = None,
    leader_election: Annotated[bool, typer.Option(help="Hold a Lease, so that one replica of several works.")] = True,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Resources worked on at a time.")] = 8,
    probe_host: Annotated[
        str | None,
        typer.Option(help="Address of /livez, /readyz and /metrics; default: all of a pod's family, else 127.0.0.1."),
    ] = None,
    probe_port: Annotated[int, typer.Option(help="Port of /livez, /readyz and /metrics; 0 picks one.")] = 8080,
    progress_address: Annotated[
        str | None,
        typer.Option(envvar="HEARTH_POD_IP", help="Address at which pods reach this process; default: found out."),
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option(case_sensitive=False, help="Least that a line must tell to be written.")
    ] = LogLevel.INFO,
    log_format: Annotated[LogFormat, typer.Option(help="For programs, or for people.")] = LogFormat.JSON,
) -> None:
    """Run the operator until it is told to stop."""
    set_up(log_level, as_json=log_format is LogFormat.JSON)
    options = Options(
        identity=f"{os.environ.get('HEARTH_POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}",
        namespaces=split_names(namespace or ()),
        leader_election=leader_election,
        workers=workers,
        probe_host=probe_host or default_probe_host(os.environ.get("HEARTH_POD_IP")),
        probe_port=probe_port,
        progress_address=progress_address,
    )
    # What was imported stays: the collector need not look through it again and again.
    gc.freeze()
    gc.set_threshold(GARBAGE)
    try:
        uvloop.run(_serve(load(kubeconfig, context), read_settings(settings), options))
    except (CredentialsError, SettingsError, MissingCrdsError, LeadershipLostError) as error:
        raise _ended(str(error)) from error
    except (ApiError, ConnectionFailedError) as error:
        raise _ended(f"the Kubernetes API: {error}") from error
    except socket.gaierror as error:
        raise _ended(
            f"the host of the Kubernetes API, or of --probe-host, cannot be looked up: {error.strerror}"
        ) from error
    except OSError as error:
        asked = "; is another operator running on this machine?" if error.errno == errno.EADDRINUSE else ""
        raise _ended(f"{error}{asked}") from error


def default_probe_host(pod_ip: str | None) -> str:
    """Where probes listen: outside a pod on loopback, in one on all addresses of the family that the kubelet uses."""
    if not pod_ip:
        return "127.0.0.1"
    return "::" if ipaddress.ip_address(pod_ip).version == 6 else "0.0.0.0"  # noqa: S104 - the kubelet asks from outside


def split_names(given: Iterable[str]) -> tuple[str, ...]:
    """Names given one by one, or several with commas or spaces between."""
    return tuple(name for entry in given for name in re.split(r"[,\s]+", entry) if name)


async def _serve(credentials: Credentials, settings: Settings, options: Options) -> None:
    metrics = Metrics()
    async with Transport(credentials, metrics.count_request, user_agent="hearth-operator") as transport:
        await Operator(HttpApi(transport), credentials, settings, KINDS, options, metrics).run()


def _ended(message: str) -> typer.Exit:
    typer.echo(f"hearth: {message}", err=True)
    return typer.Exit(1)

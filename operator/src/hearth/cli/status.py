"""`hearth status`: one tree for each resource, with progress bars and what to do next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live

from hearth.api.base import Json
from hearth.cli.output import NO_DEFINITIONS, Output, failed
from hearth.cli.status_tree import tree
from hearth.kube.api import Selection
from hearth.kube.credentials import Credentials, CredentialsError, load
from hearth.kube.errors import ApiError, ConnectionFailedError, NotFoundError
from hearth.kube.http_api import HttpApi
from hearth.kube.resources import hearth_resource
from hearth.kube.transport import Transport
from hearth.runtime.kinds import KINDS

WATCH_SECONDS = 2.0
"""Between two looks of `--watch`, as in watch(1)."""


def status(
    name: Annotated[list[str] | None, typer.Argument(help="Names of resources; all of them if left out.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Default: the context's.")] = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Look in every namespace.")] = False,
    kubeconfig: Annotated[Path | None, typer.Option(help="Default: KUBECONFIG, then ~/.kube/config.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="tree or json.")] = Output.TREE,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing changes, until Ctrl-C.")] = False,
) -> None:
    """Show every FineTuneJob, VectorIndex and LLMService as a tree."""
    if watch and output is Output.JSON:
        raise failed("--watch shows trees; for machines there is kubectl get hearth --watch -o json")
    try:
        credentials = load(kubeconfig, context)
        where = "" if all_namespaces else namespace or credentials.namespace
        if watch:
            asyncio.run(_watch(credentials, where, name or []))
            return
        chosen = asyncio.run(_once(credentials, where, name or []))
    except NotFoundError as error:
        raise failed(NO_DEFINITIONS) from error
    except (CredentialsError, ApiError, ConnectionFailedError) as error:
        raise failed(str(error)) from error
    except KeyboardInterrupt:
        return
    if output is Output.JSON:
        typer.echo(json.dumps(chosen, indent=2))
    elif chosen:
        Console().print(shown(chosen))
    missing = [one for one in name or [] if one not in {resource["metadata"]["name"] for resource in chosen}]
    if missing or (not chosen and output is Output.TREE):
        raise failed(_nothing(where, missing))


def shown(resources: Sequence[Json]) -> Group:
    """The resources' trees, one below the other."""
    return Group(*(tree(resource) for resource in resources))


def _nothing(where: str, names: Sequence[str]) -> str:
    missing = f"none named {', '.join(names)}" if names else "none"
    return f"{missing} in {where or 'any namespace'}; -A looks in all namespaces"


async def _once(credentials: Credentials, namespace: str, names: Sequence[str]) -> list[Json]:
    async with Transport(credentials, user_agent="hearth-cli") as transport:
        return await _chosen(HttpApi(transport), namespace, names)


async def _watch(credentials: Credentials, namespace: str, names: Sequence[str]) -> None:
    """Shows what is there again and again; an API server that is away for a while is waited for."""
    async with Transport(credentials, user_agent="hearth-cli") as transport:
        api = HttpApi(transport)
        with Live(console=Console(), auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                try:
                    found = await _chosen(api, namespace, names)
                    live.update(shown(found) if found else _nothing(namespace, names), refresh=True)
                except ConnectionFailedError as error:
                    live.update(f"{error}; trying again", refresh=True)
                await asyncio.sleep(WATCH_SECONDS)


async def _chosen(api: HttpApi, namespace: str, names: Sequence[str]) -> list[Json]:
    found: list[Json] = []
    for kind in KINDS:
        what = Selection(hearth_resource(kind.kind, kind.plural), namespace)
        async for page in api.list(what):
            for item in page.items:
                if not names or item["metadata"]["name"] in names:
                    item["metadata"].pop("managedFields", None)
                    found.append(item)
    return found

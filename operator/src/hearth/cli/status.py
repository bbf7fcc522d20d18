"""`hearth status`: one tree for each resource, with progress bars and what to do next."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hearth.api.base import Json
from hearth.cli.output import Output, failed
from hearth.cli.status_tree import tree
from hearth.kube.api import Selection
from hearth.kube.credentials import Credentials, CredentialsError, load
from hearth.kube.errors import ApiError, ConnectionFailedError
from hearth.kube.http_api import HttpApi
from hearth.kube.resources import hearth_resource
from hearth.kube.transport import Transport
from hearth.runtime.kinds import KINDS


def status(
    name: Annotated[list[str] | None, typer.Argument(help="Names of resources; all of them if left out.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Default: the context's.")] = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Look in every namespace.")] = False,
    kubeconfig: Annotated[Path | None, typer.Option(help="Default: KUBECONFIG, then ~/.kube/config.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="tree or json.")] = Output.TREE,
) -> None:
    """Show every FineTuneJob, VectorIndex and LLMService as a tree."""
    try:
        credentials = load(kubeconfig, context)
        where = "" if all_namespaces else namespace or credentials.namespace
        found = asyncio.run(_list(credentials, where))
    except (CredentialsError, ApiError, ConnectionFailedError) as error:
        raise failed(str(error)) from error
    chosen = [r for r in found if not name or r["metadata"]["name"] in name]
    if output is Output.JSON:
        typer.echo(json.dumps(chosen, indent=2))
        return
    if not chosen:
        missing = f"none named {', '.join(name)}" if name else "none"
        raise failed(f"{missing} in {where or 'any namespace'}; -A looks in all namespaces")
    console = Console()
    for resource in chosen:
        console.print(tree(resource))


async def _list(credentials: Credentials, namespace: str) -> list[Json]:
    async with Transport(credentials, user_agent="hearth-cli") as transport:
        api = HttpApi(transport)
        found: list[Json] = []
        for kind in KINDS:
            what = Selection(hearth_resource(kind.kind, kind.plural), namespace)
            async for page in api.list(what):
                for item in page.items:
                    item["metadata"].pop("managedFields", None)
                    found.append(item)
        return found

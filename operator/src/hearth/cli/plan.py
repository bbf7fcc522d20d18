"""`hearth plan`: what would be made of a file, and the memory it would take. Writes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from hearth.api.base import Json
from hearth.api.kinds import KINDS as CUSTOM_KINDS
from hearth.cli.admission import refusals
from hearth.cli.installed_settings import choose_settings, installed_settings
from hearth.cli.manifests import FileError, read_objects, read_resources, read_text
from hearth.cli.output import NO_DEFINITIONS, Output, failed
from hearth.cli.preview import Change, as_json, changes, proposed, refused_as_json
from hearth.cli.status_tree import tree
from hearth.kube.cache import WatchCache
from hearth.kube.credentials import Credentials, CredentialsError, load
from hearth.kube.errors import ApiError, ConnectionFailedError, NotFoundError
from hearth.kube.http_api import HttpApi
from hearth.kube.transport import Transport
from hearth.plan.settings import Settings
from hearth.plan.world import ObjectKey, Plan, World, key_of
from hearth.runtime.kinds import KINDS
from hearth.runtime.settings_file import SettingsError, read_settings
from hearth.runtime.snapshot import empty_cache, fill, observe, observe_offline, take_authority

MARKS = {"create": "[green]+[/green]", "change": "[yellow]~[/yellow]", "keep": "=", "delete": "[red]-[/red]"}


@dataclass(frozen=True, slots=True)
class Refused:
    """A resource that the API server would not take, and why."""

    resource: Json
    reasons: tuple[str, ...]


Seen = tuple[World, WatchCache]
"""What a resource that would be taken is planned from."""


def plan(
    file: Annotated[Path, typer.Option("--file", "-f", help="Resources as YAML; - reads standard input.")],
    settings: Annotated[
        Path | None,
        typer.Option(envvar="HEARTH_SETTINGS", help="The operator's settings file. Default: what the cluster has."),
    ] = None,
    operator_namespace: Annotated[
        str | None, typer.Option(help="Where the operator is installed, if there are several.")
    ] = None,
    world: Annotated[
        Path | None, typer.Option(help="Objects as YAML that stand for the cluster; none is asked then.")
    ] = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="Default: KUBECONFIG, then ~/.kube/config.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="For resources that name none.")] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="tree or json.")] = Output.TREE,
) -> None:
    """Say what the operator would do with the resources of a file, and write nothing.

    The answer is the next step from the present state: for a model that nobody has read yet, that is to inspect it;
    its memory plan is part of the answer once the facts are in the status (or in --world). A resource that the API
    server would refuse is told with the reason, and ends the command with exit code 1.
    """
    try:
        wanted = read_resources(read_text(file), str(file))
        known = read_settings(settings) if settings is not None else None
        if world is not None:
            objects = read_objects(read_text(world), str(world))
            known = known or choose_settings(objects, operator_namespace)
            found = _offline(wanted, known, objects, namespace or "default")
        else:
            credentials = load(kubeconfig, context)
            found = asyncio.run(_online(wanted, known, operator_namespace, credentials, namespace))
    except NotFoundError as error:
        raise failed(NO_DEFINITIONS) from error
    except (FileError, SettingsError, CredentialsError, ApiError, ConnectionFailedError) as error:
        raise failed(str(error)) from error
    _print(found, output)
    if any(isinstance(one, Refused) for one in found):
        raise typer.Exit(1)


def _offline(wanted: Iterable[Json], settings: Settings, objects: list[Json], namespace: str) -> list[Seen | Refused]:
    cache = empty_cache(KINDS, settings)
    for number, obj in enumerate(objects):
        meta = {"uid": f"world-{number}", "namespace": namespace, **obj["metadata"]}
        cache.put({**obj, "metadata": meta})
    take_authority(cache)
    # All of them first: one resource of the file may name another.
    keys = [_propose(cache, resource, namespace) for resource in wanted]
    return [key if isinstance(key, Refused) else (observe_offline(cache, key), cache) for key in keys]


async def _online(
    wanted: Sequence[Json],
    known: Settings | None,
    operator_namespace: str | None,
    credentials: Credentials,
    namespace: str | None,
) -> list[Seen | Refused]:
    default = namespace or credentials.namespace
    async with Transport(credentials, user_agent="hearth-cli") as transport:
        api = HttpApi(transport)
        cache = empty_cache(KINDS, known or await installed_settings(api, operator_namespace))
        for where in sorted({resource["metadata"].get("namespace") or default for resource in wanted}):
            await fill(api, cache, where)
        take_authority(cache)
        keys = [_propose(cache, resource, default) for resource in wanted]
        return [key if isinstance(key, Refused) else (await observe(api, cache, key), cache) for key in keys]


def _propose(cache: WatchCache, resource: Json, namespace: str) -> ObjectKey | Refused:
    """Puts the resource into the cache as it would be; one that would be refused leaves what is there."""
    named = {**resource, "metadata": {"namespace": namespace, **resource["metadata"]}}
    key = key_of(named)
    live = cache.store.get(key)
    kind = next(kind for kind in CUSTOM_KINDS if kind.kind == key.kind)
    if reasons := refusals(kind, named, live):
        return Refused(named, tuple(reasons))
    cache.put(proposed(named, live, namespace))
    return key


def _print(found: Sequence[Seen | Refused], output: Output) -> None:
    plans = {kind.kind: kind.plan for kind in KINDS}
    previews = []
    console = Console()
    for one in found:
        if isinstance(one, Refused):
            previews.append(refused_as_json(one.resource, one.reasons))
            shown = refused_tree(one)
        else:
            world, cache = one
            made = plans[world.owner["kind"]](world, datetime.now(UTC))
            listed = changes(world.owner, made, cache.store.get)
            previews.append(as_json(world.owner, made, listed))
            shown = preview_tree(world.owner, made, listed)
        if output is Output.TREE:
            console.print(shown)
    if output is Output.JSON:
        typer.echo(json.dumps(previews, indent=2))


def preview_tree(owner: Json, made: Plan, listed: list[Change]) -> Tree:
    """The status that would be, and below it the children with what would become of each."""
    root = tree({**owner, "status": made.status})
    table = Table("", "kind", "name", box=None, pad_edge=False)
    table.add_column("first difference", overflow="fold")
    for change in listed:
        # Text, because a path such as [/tmp] would be read as markup.
        table.add_row(MARKS[change.verb], *map(Text, (change.kind, change.name, change.where)))
    root.add(table if listed else "nothing would be written")
    return root


def refused_tree(refused: Refused) -> Tree:
    """The resource, and why it would not be taken."""
    meta = refused.resource["metadata"]
    title = Text.assemble((refused.resource["kind"], "bold"), f" {meta['namespace']}/{meta['name']}  ")
    root = Tree(title.append("would be refused", style="red"))
    for reason in refused.reasons:
        root.add(Text.assemble(("✗", "red"), f" {reason}"))
    return root

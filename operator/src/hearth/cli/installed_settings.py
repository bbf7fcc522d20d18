"""The settings of the operator that is installed in a cluster, for commands that answer as it would."""

from __future__ import annotations

from collections.abc import Iterable

from hearth.api.base import Json
from hearth.kube.api import Api, Selection
from hearth.kube.errors import ForbiddenError
from hearth.kube.resources import CONFIG_MAP
from hearth.plan.settings import Settings
from hearth.runtime.settings_file import SettingsError, parse_settings

LABELS = {"app.kubernetes.io/name": "hearth", "app.kubernetes.io/component": "operator"}
"""What charts/hearth puts on the ConfigMap."""
KEY = "settings.yaml"
USUAL_NAMESPACE = "hearth-system"
"""Where the documentation installs the chart; looked at alone by those who may not list all namespaces."""
OTHERWISE = "or pass --settings FILE"


async def installed_settings(api: Api, namespace: str | None) -> Settings:
    """The settings of the release in `namespace`; None looks in all of them. Only reads.

    Raises SettingsError where there is none, more than one, or no right to read it.
    """
    try:
        return choose_settings(await _config_maps(api, namespace), namespace)
    except ForbiddenError as error:
        where = namespace or USUAL_NAMESPACE
        raise SettingsError(
            f"the settings of the installed operator cannot be read: {error.message}; ask for the right to list "
            f"ConfigMaps in namespace {where}, {OTHERWISE}"
        ) from error


def choose_settings(objects: Iterable[Json], namespace: str | None = None) -> Settings:
    """The one settings ConfigMap among the objects.

    Raises SettingsError where there is none or more than one, or where its content is wrong.
    """
    found = [o for o in objects if o["kind"] == CONFIG_MAP.kind and _is_settings(o)]
    within = [o for o in found if namespace in (None, o["metadata"].get("namespace"))]
    if not within:
        place = f"namespace {namespace}" if namespace else "any namespace"
        raise SettingsError(
            f"found no ConfigMap of an installed operator in {place} (labels {selector()}, key {KEY}): "
            f"install the chart hearth, {OTHERWISE}"
        )
    if len(within) > 1:
        places = ", ".join(sorted(_name(o) for o in within))
        raise SettingsError(
            f"found the settings of {len(within)} operators: {places}; choose one with --operator-namespace, "
            f"{OTHERWISE}"
        )
    return parse_settings(within[0]["data"][KEY], f"ConfigMap {_name(within[0])}")


def selector() -> str:
    """LABELS as a label selector."""
    return ",".join(f"{key}={value}" for key, value in LABELS.items())


async def _config_maps(api: Api, namespace: str | None) -> list[Json]:
    try:
        return await _list(api, namespace or "")
    except ForbiddenError:
        if namespace is not None:
            raise
        return await _list(api, USUAL_NAMESPACE)


async def _list(api: Api, namespace: str) -> list[Json]:
    return [item async for page in api.list(Selection(CONFIG_MAP, namespace, labels=selector())) for item in page.items]


def _is_settings(obj: Json) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in LABELS.items()) and KEY in (obj.get("data") or {})


def _name(obj: Json) -> str:
    return f"{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"

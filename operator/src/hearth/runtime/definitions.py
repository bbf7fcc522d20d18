"""Whether the cluster serves the custom resources: asked before anything is written or watched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from hearth.api.base import API_VERSION
from hearth.kube.resources import Resource

log = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds between two looks at the server's list of groups."""


class MissingCrdsError(Exception):
    """The cluster does not serve the custom resources."""


class Discovery(Protocol):
    """What the API server says it serves."""

    async def discover(self, api_version: str) -> frozenset[str]:
        """The plurals that are served under `group/version`."""
        ...

    async def lists_version(self, api_version: str) -> bool:
        """Whether `group/version` is in the list of groups."""
        ...


async def await_definitions(api: Discovery, custom: Sequence[Resource]) -> None:
    """Returns once the custom resources can be watched. Raises `MissingCrdsError` where they are not installed.

    kopf reads the list of groups once, and never watches what is not in it yet. A new group gets into that list by
    another way than into what is served, so that one may come before the other.
    """
    served = await api.discover(API_VERSION)
    missing = [f"{r.plural}.{r.group}" for r in custom if r.plural not in served]
    if missing:
        raise MissingCrdsError(
            f"the cluster has no CustomResourceDefinition {', '.join(missing)}; install them with "
            "`kubectl apply --server-side -f crds/` or the chart hearth-crds, then start the operator again"
        )
    while not await api.lists_version(API_VERSION):
        log.info("waiting for the API server to list %s", API_VERSION)
        await asyncio.sleep(PAUSE)

"""How commands print: for people or for machines, and how they end when something is wrong."""

from __future__ import annotations

from enum import StrEnum

import typer

NO_DEFINITIONS = "the cluster does not have the kinds of Hearth: install the chart hearth-crds"
"""What a 404 means where the kinds themselves are asked for."""


class Output(StrEnum):
    """Formats of `-o`."""

    TREE = "tree"
    JSON = "json"


def failed(message: str) -> typer.Exit:
    """Prints the reason on standard error; raise what it returns."""
    typer.echo(f"hearth: {message}", err=True)
    return typer.Exit(1)

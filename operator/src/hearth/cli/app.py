"""The `hearth` command line: one typer application that each command registers with."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from hearth.cli.crds import app as crds
from hearth.cli.plan import plan
from hearth.cli.run import run
from hearth.cli.status import status

app = typer.Typer(
    name="hearth",
    help="Fine-tune, index and serve your own language models on Kubernetes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"hearth {version('hearth')}")
        raise typer.Exit


@app.callback()
def hearth(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Fine-tune, index and serve your own language models on Kubernetes."""


app.command("run")(run)
app.command("plan")(plan)
app.command("status")(status)
app.add_typer(crds, name="crds")

"""`hearth crds`: the CustomResourceDefinitions, for a cluster and for this repository."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, get_args

import typer

from hearth.api.base import GROUP
from hearth.api.crd_generate import chart_template, crd_file, to_yaml
from hearth.api.crd_kind import CustomKind
from hearth.api.crd_reference import reference_page
from hearth.api.kinds import KINDS
from hearth.kube.rbac import Scope, rules

app = typer.Typer(help="The CustomResourceDefinitions of Hearth.", no_args_is_help=True)


@app.command()
def show(
    kind: Annotated[str | None, typer.Argument(help="Kind, plural or short name; all of them if left out.")] = None,
) -> None:
    """Print them as YAML: `hearth crds show | kubectl apply --server-side -f -`."""
    chosen = [k for k in KINDS if kind is None or kind.lower() in _names(k)]
    if not chosen:
        known = ", ".join(k.kind for k in KINDS)
        typer.echo(f"no kind is called {kind!r}; there are {known}", err=True)
        raise typer.Exit(2)
    typer.echo("---\n".join(crd_file(k) for k in chosen), nl=False)


@app.command()
def generate(
    root: Annotated[Path, typer.Option(help="The repository to write to.", exists=True, file_okay=False)] = Path(),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is out of date.")] = False,
) -> None:
    """Write crds/, the templates of the chart hearth-crds, the operator's roles and the reference pages."""
    stale = [path for path, text in generated_files().items() if _differs(root / path, text)]
    if check:
        for path in stale:
            typer.echo(f"{path} is out of date: run `make crds` and commit the result", err=True)
        raise typer.Exit(1 if stale else 0)
    for path in stale:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(generated_files()[path], encoding="utf-8")
        typer.echo(f"wrote {path}")


def generated_files() -> dict[str, str]:
    """Path below the repository to text, of every file that `make crds` writes."""
    files: dict[str, str] = {}
    for kind in KINDS:
        files[f"crds/{GROUP}_{kind.plural}.yaml"] = crd_file(kind)
        files[f"charts/hearth-crds/templates/{kind.plural}.yaml"] = chart_template(kind)
        files[f"docs/api/{kind.singular}.md"] = reference_page(kind)
    files["charts/hearth/files/rbac.yaml"] = _chart_rules()
    return files


def _chart_rules() -> str:
    """The operator's rights, by where they are bound, for the chart's roles."""
    return to_yaml({scope: rules(scope) for scope in get_args(Scope)}, "operator/src/hearth/kube/rbac.py")


def _names(kind: CustomKind) -> set[str]:
    return {kind.singular, kind.plural, *kind.short_names}


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text(encoding="utf-8") != text


if __name__ == "__main__":
    sys.exit(app())

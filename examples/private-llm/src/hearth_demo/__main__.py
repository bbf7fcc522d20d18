"""`make demo`: a fine-tuned model, an index and an endpoint that cites, on a cluster of its own."""

from __future__ import annotations

from typing import Annotated

import typer
from hearth_cluster import binaries
from hearth_cluster.errors import ClusterError
from hearth_cluster.state import ClusterState
from rich.console import Console
from rich.markup import escape

from hearth_demo import install, story
from hearth_demo.kubectl import Kubectl
from hearth_demo.steps import StepError, Steps

NAMESPACE = "demo"

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def demo(
    name: Annotated[
        str, typer.Option(help="Name of the local cluster that is brought up and left running.")
    ] = "hearth",
) -> None:
    """Shows everything, step by step. Safe to run twice: what is there already is kept."""
    console = Console()
    try:
        run(name, console)
    except (StepError, ClusterError) as error:
        console.print(f"\n[red]The demo stopped:[/red] {escape(str(error))}")
        console.print(f"The cluster is left as it is: hearth-cluster status --name {name}")
        raise typer.Exit(1) from error


def run(name: str, console: Console) -> None:
    """All steps, in order.

    Raises StepError or ClusterError where one cannot be finished.
    """
    steps = Steps(console, total=7)
    state = ClusterState(name)
    with steps.step("A real Kubernetes comes up"):
        install.hearth_cluster("up", "--name", name)
    with steps.step("Images are built and pushed into the cluster's own registry"):
        install.hearth_cluster("images", "--name", name, "--profile", "demo")
    with steps.step("The charts install: definitions and the operator"):
        install.install_charts(state)
    kubectl = Kubectl(binaries.tool("kubectl"), state.kubeconfig, NAMESPACE)
    story.tell(steps, kubectl)
    story.tell_how_to_go_on(console, name, kubectl)


if __name__ == "__main__":
    app()

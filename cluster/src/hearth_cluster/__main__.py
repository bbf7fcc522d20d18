"""`python -m hearth_cluster`: the same as `hearth-cluster`."""

from hearth_cluster.cli import app

app()

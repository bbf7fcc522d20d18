"""Builds what the tests need and the cache lacks, so that no test that counts seconds runs beside a compiler."""

from hearth_cluster import binaries, ephemeral
from hearth_cluster.images import deliver_profile
from hearth_cluster.progress import Progress

progress = Progress()
binaries.tools(["helm", "helm3", "kwok"], progress)
with ephemeral.node(progress) as cluster:
    deliver_profile(cluster.state, "test", progress)

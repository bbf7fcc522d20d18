"""One exception type for everything that a person running a cluster can mend."""

from __future__ import annotations


class ClusterError(Exception):
    """Something about the cluster or the machine is not as it must be.

    The message says what was found, what was expected and what to do next; `cli` prints it without a traceback.
    """

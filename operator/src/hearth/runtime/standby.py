"""A replica that waits for the Lease, and for whom it waits.

Replicas of one release stand by for each other. Two releases in one namespace share the Lease too, but serve different
namespaces: the one that waits would look healthy and never work.
"""

from __future__ import annotations

import logging
import re

from hearth.kube.lease import LeaderElector

log = logging.getLogger(__name__)

_SUFFIX = "[bcdfghjklmnpqrstvwxz2456789]"
"""The characters of the suffixes that Kubernetes gives to names (apimachinery, util/rand)."""
_IDENTITY = re.compile(rf"(?P<deployment>.+)-{_SUFFIX}{{1,10}}-{_SUFFIX}{{5}}_.*")


def deployment_of(identity: str) -> str | None:
    """The Deployment of the pod that a Lease's holder runs in; None for an operator that runs in no pod."""
    found = _IDENTITY.fullmatch(identity)
    return found["deployment"] if found else None


class Standby:
    """A candidate for the Lease, as its readiness probe sees it."""

    def __init__(self, elector: LeaderElector) -> None:
        self._elector = elector
        self._told = ""

    def check(self) -> str | None:
        """A `Check`: whether a pod of another release is the leader."""
        holder = self._elector.leader_beside
        ours, theirs = deployment_of(self._elector.identity), deployment_of(holder or "")
        if None in (ours, theirs) or ours == theirs:
            return None
        wrong = (
            f"pod {(holder or '').partition('_')[0]} of another release in this namespace holds the Lease, and this "
            "release does not work: install it in a namespace of its own, or uninstall the other"
        )
        if wrong != self._told:
            # The kubelet's event has the status of a failed probe, not its text.
            log.warning("%s", wrong)
            self._told = wrong
        return wrong

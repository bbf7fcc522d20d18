"""The API resources that the operator speaks to: how a kind is spelled in a URL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from hearth.api.base import GROUP, VERSION


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the Kubernetes API. `group` is empty for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of one object, or of a collection when `name` is empty (all namespaces when `namespace` is)."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


def hearth_resource(kind: str, plural: str) -> Resource:
    """A custom resource of this project."""
    return Resource(GROUP, VERSION, kind, plural)


CONFIG_MAP = Resource("", "v1", "ConfigMap", "configmaps")
SECRET = Resource("", "v1", "Secret", "secrets")
SERVICE = Resource("", "v1", "Service", "services")
POD = Resource("", "v1", "Pod", "pods")
NODE = Resource("", "v1", "Node", "nodes", namespaced=False)
CLAIM = Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
DEPLOYMENT = Resource("apps", "v1", "Deployment", "deployments")
REPLICA_SET = Resource("apps", "v1", "ReplicaSet", "replicasets")
STATEFUL_SET = Resource("apps", "v1", "StatefulSet", "statefulsets")
JOB = Resource("batch", "v1", "Job", "jobs")
DISRUPTION_BUDGET = Resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
STORAGE_CLASS = Resource("storage.k8s.io", "v1", "StorageClass", "storageclasses", namespaced=False)
LEASE = Resource("coordination.k8s.io", "v1", "Lease", "leases")
EVENT = Resource("events.k8s.io", "v1", "Event", "events")
ENDPOINT_SLICE = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
TOKEN_REVIEW = Resource("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", namespaced=False)

APPLIED = (CONFIG_MAP, SERVICE, CLAIM, DEPLOYMENT, STATEFUL_SET, JOB, DISRUPTION_BUDGET, NETWORK_POLICY)
"""Kinds that plans may apply as children: watched in full, by the managed-by label."""

FOLLOWED = (REPLICA_SET, POD)
"""Kinds that controllers of Kubernetes make out of our children: watched by the same label, never written."""

SURROUNDINGS = (NODE, STORAGE_CLASS)
"""Kinds of the cluster that every plan may look at: watched in full, never written."""

REFERRED = (SECRET,)
"""Kinds that plans may ask for by name and that are read one by one, never watched."""


class UnknownKindError(LookupError):
    """A plan names a kind that the operator has no rights for. A programming error."""


class ResourceTable:
    """Finds the resource of a kind."""

    def __init__(self, custom: Iterable[Resource] = ()) -> None:
        self.custom = tuple(custom)
        self._by_kind = {r.kind: r for r in (*APPLIED, *FOLLOWED, *SURROUNDINGS, *REFERRED, LEASE, EVENT, *self.custom)}

    def of(self, kind: str) -> Resource:
        """The resource of this kind; raises `UnknownKindError`."""
        try:
            return self._by_kind[kind]
        except KeyError:
            raise UnknownKindError(f"kind {kind} is in no table of hearth.kube.resources; add it there") from None

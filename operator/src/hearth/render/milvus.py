"""Milvus as one StatefulSet on one volume: no MinIO, no Pulsar, no second etcd.

Standalone keeps etcd, the write-ahead log and the segments in one process and on one block volume, as upstream's
scripts/standalone_embed does. Lite is the milvus-lite server in the same shape.
"""

from __future__ import annotations

from dataclasses import dataclass

from hearth.api.base import GROUP, Json, quantity
from hearth.api.vectorindex import Topology, VectorIndexSpec
from hearth.render.labels import owner_labels, pod_labels, selector
from hearth.render.names import STATEFUL_SET_LIMIT, child_name, digest8
from hearth.render.pod import restricted_pod
from hearth.render.podoverrides import with_overrides, with_resources

PORT = 19530
METRICS_PORT = 9091
DATA = "/var/lib/milvus"
CONFIG = "/etc/hearth/milvus"
VOLUME = "data"

DEFAULT_SIZE: dict[Topology, str] = {"Standalone": "10Gi", "Lite": "2Gi"}
REQUESTS: dict[Topology, Json] = {
    "Standalone": {"cpu": "500m", "memory": "1Gi"},
    "Lite": {"cpu": "100m", "memory": "256Mi"},
}
"""A fresh Milvus 2.3.5 holds 160 to 330 MiB, milvus-lite 120; the index comes on top."""

QUOTA_SHARE = 0.8
"""Part of the volume that data may fill before writes are refused; a full volume cannot even be compacted."""

STOP_SECONDS = 30
"""After this, Milvus gives up stopping in order and ends. With a loaded collection 2.3.5 never gets to the end of it by
itself (its default allows 1800 s); what was acknowledged is in the log on the volume."""

GRACE_SECONDS = 60

STARTUP_PERIOD, STARTUP_FAILURES = 5, 120
"""Ten minutes: a loaded collection took 54 s to come back after an unclean stop, and more data takes longer."""

CONFIG_HASH = f"{GROUP}/config-hash"
ETCD_QUOTA_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What the plan settled for the engine."""

    image: str
    size: str
    """Size of the volume in the StatefulSet's template, which cannot be changed while the StatefulSet lives."""
    storage_class: str | None
    access_mode: str
    suspended: bool = False


def milvus_name(owner: str) -> str:
    """Name of the StatefulSet, the client Service, the ConfigMap and the PodDisruptionBudget."""
    return child_name(owner, "milvus", STATEFUL_SET_LIMIT)


def headless_name(owner: str) -> str:
    """Name of the Service that gives the pod its own DNS name."""
    return child_name(owner, "milvus-headless")


def claim_name(owner: str) -> str:
    """Name of the PersistentVolumeClaim that the StatefulSet controller makes from the template."""
    return f"{VOLUME}-{milvus_name(owner)}-0"


def endpoint(owner: Json, domain: str) -> str:
    """Where clients in the cluster reach the engine."""
    return f"http://{milvus_name(owner['metadata']['name'])}.{owner['metadata']['namespace']}.svc.{domain}:{PORT}"


def default_size(spec: VectorIndexSpec) -> str:
    """The size that the spec asks for, or the topology's own."""
    storage = spec.milvus.storage
    return (storage.size if storage else None) or DEFAULT_SIZE[spec.milvus.topology]


MILVUS_YAML = f"""\
etcd:
  endpoints: 127.0.0.1:2379
  use:
    embed: true
  data:
    dir: {DATA}/etcd
  config:
    path: {CONFIG}/embedEtcd.yaml
common:
  storageType: local
  gracefulStopTimeout: {STOP_SECONDS}
localStorage:
  path: {DATA}/data
mq:
  type: rocksmq
rocksmq:
  path: {DATA}/rdb_data
  retentionTimeInMinutes: 720
  retentionSizeInMB: 2048
rootCoord:
  port: 53100
  dmlChannelNum: 16
queryCoord:
  port: 19531
queryNode:
  port: 21123
indexNode:
  port: 21121
dataNode:
  port: 21124
dataCoord:
  port: 13333
  enableGarbageCollection: true
  gc:
    interval: 3600
    dropTolerance: 10800
proxy:
  port: {PORT}
  internalPort: 19529
  http:
    enabled: true
log:
  level: warn
  stdout: true
quotaAndLimits:
  enabled: true
  limitWriting:
    memProtection:
      enabled: true
    diskProtection:
      enabled: true
      diskQuota:"""
"""All of it but the quota, which is the last value.

Pinned: the message queue (a store that was born with one cannot be read with another), the paths, etcd on loopback, and
every port: without one in the file, each component of 2.3.5 takes 19530.
"""


def milvus_yaml(size: str) -> str:
    """The configuration of Standalone; what is not here is Milvus's own default.

    Milvus reads the file again while it runs, so a grown volume raises the disk quota without a restart.
    """
    quota_mb = int(quantity(size) * QUOTA_SHARE / 2**20)
    return f"{MILVUS_YAML} {quota_mb}\n"


EMBED_ETCD_YAML = f"""\
listen-client-urls: http://127.0.0.1:2379
advertise-client-urls: http://127.0.0.1:2379
quota-backend-bytes: {ETCD_QUOTA_BYTES}
auto-compaction-mode: revision
auto-compaction-retention: '1000'
"""
"""Without compaction and a quota above etcd's 2 GB the store fills up and Milvus cannot start (milvus #44614)."""

GLOG_CONF = "--logtostderr=true\n--minloglevel=1\n"


def config_map(owner: Json, size: str) -> Json:
    """The configuration files of Standalone."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": milvus_name(owner["metadata"]["name"]), "labels": owner_labels(owner)},
        "data": {"milvus.yaml": milvus_yaml(size), "embedEtcd.yaml": EMBED_ETCD_YAML, "glog.conf": GLOG_CONF},
    }


def services(owner: Json, topology: Topology) -> list[Json]:
    """The headless Service of the StatefulSet and the one that clients use."""
    name = owner["metadata"]["name"]
    ports = [{"name": "grpc", "port": PORT, "targetPort": "grpc"}]
    if topology == "Standalone":
        ports.append({"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics"})
    chosen = selector(owner, "milvus")
    headless = {"clusterIP": "None", "publishNotReadyAddresses": True, "ports": ports, "selector": chosen}
    return [
        _service(owner, headless_name(name), headless),
        _service(owner, milvus_name(name), {"type": "ClusterIP", "ports": ports, "selector": chosen}),
    ]


def _service(owner: Json, name: str, spec: Json) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": owner_labels(owner)},
        "spec": spec,
    }


def disruption_budget(owner: Json) -> Json:
    """Lets a drain send the engine's pod away, as one pod that comes back on its volume with all it had.

    A budget of none would hold up every drain and every node upgrade until somebody suspends the index.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": milvus_name(owner["metadata"]["name"]), "labels": owner_labels(owner)},
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(owner, "milvus")},
        },
    }


def stateful_set(owner: Json, spec: VectorIndexSpec, choice: EngineChoice) -> Json:
    """One pod on one volume. It never runs twice on the volume, unlike a Deployment in a rolling update."""
    name = owner["metadata"]["name"]
    claim: Json = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": VOLUME, "labels": owner_labels(owner)},
        "spec": {
            "accessModes": [choice.access_mode],
            "resources": {"requests": {"storage": choice.size}},
            "volumeMode": "Filesystem",
        },
    }
    if choice.storage_class is not None:
        claim["spec"]["storageClassName"] = choice.storage_class
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": milvus_name(name), "labels": owner_labels(owner)},
        "spec": {
            "replicas": 0 if choice.suspended else 1,
            "serviceName": headless_name(name),
            # OrderedReady waits for a pod that can never be ready before it looks at a mended template
            # (https://github.com/kubernetes/kubernetes/issues/67250). With one pod there is no order to keep.
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": spec.deletion_policy,
                "whenScaled": "Retain",
            },
            "selector": {"matchLabels": selector(owner, "milvus")},
            "template": _template(owner, spec, choice.image),
            "volumeClaimTemplates": [claim],
        },
    }


def _template(owner: Json, spec: VectorIndexSpec, image: str) -> Json:
    standalone = spec.milvus.topology == "Standalone"
    container = _standalone(image) if standalone else _lite(image)
    container["resources"] = {"requests": dict(REQUESTS[spec.milvus.topology])}
    container = with_resources(container, spec.milvus.resources)
    container["volumeMounts"] = [*container.get("volumeMounts", []), {"name": VOLUME, "mountPath": DATA}]
    name = milvus_name(owner["metadata"]["name"])
    # The quota follows the volume without a restart, so it is not part of the hash.
    written = digest8([milvus_yaml("1Gi"), EMBED_ETCD_YAML, GLOG_CONF])
    template = restricted_pod(
        labels=pod_labels(owner, "milvus"),
        annotations={CONFIG_HASH: written} if standalone else None,
        containers=[container],
        volumes=[{"name": "config", "configMap": {"name": name}}] if standalone else [],
        grace_seconds=GRACE_SECONDS if standalone else 30,
    )
    return with_overrides(template, spec.pod_overrides, "milvus")


def _standalone(image: str) -> Json:
    healthz = {"httpGet": {"path": "/healthz", "port": "metrics"}}
    return {
        "name": "milvus",
        "image": image,
        "command": ["milvus", "run", "standalone"],
        "workingDir": "/tmp",  # noqa: S108 - Milvus writes a pid file where it is started
        "env": [
            {"name": "DEPLOY_MODE", "value": "STANDALONE"},
            {"name": "MILVUSCONF", "value": CONFIG},
            {"name": "METRICS_PORT", "value": str(METRICS_PORT)},
            # A Go panic ends with its reason instead of a hundred stacks: the last lines are what the status shows.
            {"name": "GOTRACEBACK", "value": "none"},
        ],
        "ports": [
            {"name": "grpc", "containerPort": PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        "startupProbe": {
            **healthz,
            "periodSeconds": STARTUP_PERIOD,
            "failureThreshold": STARTUP_FAILURES,
            "timeoutSeconds": 5,
        },
        "readinessProbe": {**healthz, "periodSeconds": 5, "failureThreshold": 3, "timeoutSeconds": 5},
        "livenessProbe": {
            "tcpSocket": {"port": "metrics"},
            "periodSeconds": 30,
            "failureThreshold": 5,
            "timeoutSeconds": 5,
        },
        "volumeMounts": [{"name": "config", "mountPath": CONFIG, "readOnly": True}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _lite(image: str) -> Json:
    probe = {"tcpSocket": {"port": "grpc"}, "periodSeconds": 5, "timeoutSeconds": 5}
    return {
        "name": "milvus",
        "image": image,
        "command": ["milvus-lite", "server", "--data-dir", f"{DATA}/data", "--host", "0.0.0.0", "--port", str(PORT)],  # noqa: S104 - a pod's own address
        "ports": [{"name": "grpc", "containerPort": PORT}],
        "startupProbe": {**probe, "failureThreshold": STARTUP_FAILURES},
        "readinessProbe": {**probe, "failureThreshold": 3},
        "livenessProbe": {**probe, "periodSeconds": 30, "failureThreshold": 5},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }

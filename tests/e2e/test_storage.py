"""The StorageClass `hearth-block` on a real node: real claims, real pods, the real sidecars."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hearth_cluster import loops
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from namespaces import own_namespace

pytestmark = pytest.mark.e2e

NAMESPACE = "storage-e2e"
MEBIBYTE = 1 << 20
NOBODY = 65532


@pytest.fixture(scope="module")
def cluster(node_cluster: Cluster) -> Iterator[Cluster]:
    with own_namespace(node_cluster, NAMESPACE):
        yield node_cluster


def claim(name: str, size: str, mode: str = "Filesystem", source: dict[str, str] | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": mode,
        "resources": {"requests": {"storage": size}},
    }
    if source is not None:
        spec["dataSource"] = source
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def pod(cluster: Cluster, name: str, claim_name: str, *, raw: bool = False) -> dict[str, Any]:
    """A pod that does nothing, with the claim at /data, or as the device /dev/data."""
    container: dict[str, Any] = {
        "name": "shell",
        "image": cluster.state.images["gateway"],
        "command": ["python3", "-c", "import signal; signal.sigwait([signal.SIGTERM])"],
    }
    if raw:
        container["volumeDevices"] = [{"name": "data", "devicePath": "/dev/data"}]
        security = {"runAsUser": 0}
    else:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        security = {"runAsUser": NOBODY, "runAsGroup": NOBODY, "fsGroup": NOBODY}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "containers": [container],
            "securityContext": security,
            "terminationGracePeriodSeconds": 5,
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}],
        },
    }


def running(cluster: Cluster, *objects: dict[str, Any]) -> None:
    """Applies the objects and waits for the pods among them."""
    cluster.apply(*objects)
    for item in objects:
        if item["kind"] == "Pod":
            name = item["metadata"]["name"]
            cluster.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=120s", f"pod/{name}")


def python(cluster: Cluster, pod_name: str, code: str) -> str:
    return cluster.kubectl("exec", "-n", NAMESPACE, pod_name, "--", "python3", "-c", code).strip()


def until(what: str, condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.5)


def volume_of(cluster: Cluster, claim_name: str) -> dict[str, Any]:
    bound = cluster.get("-n", NAMESPACE, "pvc", claim_name)
    assert bound["status"]["phase"] == "Bound"
    return cluster.get("pv", bound["spec"]["volumeName"])


def grow(cluster: Cluster, claim_name: str, size: str) -> None:
    patch = json.dumps({"spec": {"resources": {"requests": {"storage": size}}}})
    cluster.kubectl("patch", "-n", NAMESPACE, "pvc", claim_name, "--type=merge", "--patch", patch)


def events_of(cluster: Cluster, claim_name: str) -> str:
    found = cluster.get("-n", NAMESPACE, "events", f"--field-selector=involvedObject.name={claim_name}")
    return "\n".join(item.get("message", "") for item in found["items"])


def test_a_claim_is_bound_when_a_pod_uses_it_and_not_before(cluster: Cluster) -> None:
    cluster.apply(claim("first", "512Mi"))
    until("the claim waits for a pod", lambda: "waiting for first consumer" in events_of(cluster, "first"))
    assert cluster.get("-n", NAMESPACE, "pvc", "first")["status"]["phase"] == "Pending"

    running(cluster, pod(cluster, "first", "first"))

    volume = volume_of(cluster, "first")
    assert volume["spec"]["csi"]["driver"] == "csi.hearth.dev"
    assert volume["spec"]["csi"]["fsType"] == "xfs"
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["key"] == "topology.csi.hearth.dev/node"
    # A pod that isn't root can write, through its fsGroup.
    python(cluster, "first", "open('/data/record', 'w').write('kept')")
    mounts = python(cluster, "first", "print(open('/proc/mounts').read())")
    assert any(line.split()[1:3] == ["/data", "xfs"] for line in mounts.splitlines())


def test_a_filesystem_grows_while_its_pod_writes(cluster: Cluster) -> None:
    running(cluster, claim("growing", "400Mi"), pod(cluster, "growing", "growing"))
    size = "import os; s = os.statvfs('/data'); print(s.f_blocks * s.f_frsize)"
    writer = "import os, time\nf = open('/data/log', 'w')\nwhile True: f.write('x'); f.flush(); time.sleep(0.01)"
    # Without the terminal's streams, or `kubectl exec` would wait for its end.
    start = "import subprocess as s; s.Popen(['python3', '-c', {!r}], stdout=s.DEVNULL, stderr=s.DEVNULL)"
    python(cluster, "growing", start.format(writer))
    before = int(python(cluster, "growing", size))
    assert before < 400 * MEBIBYTE
    restarts = cluster.get("-n", NAMESPACE, "pod", "growing")["status"]["containerStatuses"][0]["restartCount"]

    grow(cluster, "growing", "900Mi")

    # The kubelet looks at the claims of running pods every ten to fifteen seconds.
    until("the file system has grown", lambda: int(python(cluster, "growing", size)) > 800 * MEBIBYTE, 180)
    until(
        "the claim says so",
        lambda: cluster.get("-n", NAMESPACE, "pvc", "growing")["status"]["capacity"]["storage"] == "900Mi",
    )
    status = cluster.get("-n", NAMESPACE, "pod", "growing")["status"]["containerStatuses"][0]
    assert status["restartCount"] == restarts == 0
    length = "import os; print(os.path.getsize('/data/log'))"
    written = int(python(cluster, "growing", length))
    until("the writer goes on", lambda: int(python(cluster, "growing", length)) > written)


def test_a_claim_never_shrinks(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="can not be less than"):
        grow(cluster, "growing", "300Mi")


def test_a_snapshot_of_a_volume_in_use_restores_into_a_larger_claim(cluster: Cluster) -> None:
    running(cluster, claim("original", "400Mi"), pod(cluster, "original", "original"))
    python(cluster, "original", "open('/data/record', 'w').write('old')")
    snapshot = {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": {"name": "backup", "namespace": NAMESPACE},
        "spec": {"source": {"persistentVolumeClaimName": "original"}},  # the class is the default one
    }
    cluster.apply(snapshot)
    cluster.kubectl(
        "wait", "-n", NAMESPACE, "--for=jsonpath={.status.readyToUse}=true", "--timeout=90s", "volumesnapshot/backup"
    )
    python(cluster, "original", "open('/data/record', 'w').write('new')")

    source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "backup"}
    running(cluster, claim("restored", "700Mi", source=source), pod(cluster, "restored", "restored"))

    assert python(cluster, "restored", "print(open('/data/record').read())") == "old"
    assert python(cluster, "original", "print(open('/data/record').read())") == "new"
    size = int(python(cluster, "restored", "import os; s = os.statvfs('/data'); print(s.f_blocks * s.f_frsize)"))
    assert size > 600 * MEBIBYTE


def test_a_block_claim_is_a_raw_device_that_grows(cluster: Cluster) -> None:
    running(cluster, claim("raw", "64Mi", mode="Block"), pod(cluster, "raw", "raw", raw=True))
    kind = "import os, stat; print(stat.S_ISBLK(os.stat('/dev/data').st_mode))"
    assert python(cluster, "raw", kind) == "True"
    size = "f = open('/dev/data', 'rb'); print(f.seek(0, 2))"
    assert int(python(cluster, "raw", size)) == 64 * MEBIBYTE
    write = "import os; f = os.open('/dev/data', os.O_RDWR); os.pwrite(f, b'raw', 1 << 20); os.fsync(f)"
    python(cluster, "raw", write)

    cluster.kubectl("delete", "-n", NAMESPACE, "pod", "raw", "--timeout=60s")
    grow(cluster, "raw", "96Mi")
    running(cluster, pod(cluster, "raw-again", "raw", raw=True))

    assert python(cluster, "raw-again", "f = open('/dev/data', 'rb'); f.seek(1 << 20); print(f.read(3))") == "b'raw'"
    until("the device has grown", lambda: int(python(cluster, "raw-again", size)) == 96 * MEBIBYTE)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("huge", {"resources": {"requests": {"storage": "900Ti"}}}, "can still be promised"),
        ("shared", {"accessModes": ["ReadWriteMany"]}, "use ReadWriteOnce"),
    ],
)
def test_a_claim_that_cannot_be_met_says_why(cluster: Cluster, name: str, change: dict[str, Any], says: str) -> None:
    wanted = claim(name, "400Mi")
    wanted["spec"].update(change)
    cluster.apply(wanted, pod(cluster, name, name))

    until(f"an event says {says!r}", lambda: says in events_of(cluster, name))

    cluster.kubectl("delete", "-n", NAMESPACE, f"pod/{name}", f"pvc/{name}", "--timeout=60s")


def test_deleted_claims_leave_no_image_and_no_loop_device(cluster: Cluster) -> None:
    running(cluster, claim("passing", "400Mi"), pod(cluster, "passing", "passing"))
    volume = volume_of(cluster, "passing")
    handle = volume["spec"]["csi"]["volumeHandle"]
    folder = cluster.state.folder / "volumes" / "volumes" / handle
    assert (folder / "image").exists()
    assert [file for file in loops.attached().values() if file.is_relative_to(folder)]

    cluster.kubectl("delete", "-n", NAMESPACE, "pod/passing", "pvc/passing", "--timeout=60s")

    cluster.kubectl("wait", "--for=delete", "--timeout=90s", f"pv/{volume['metadata']['name']}")
    assert not folder.exists()
    assert not [file for file in loops.attached().values() if file.is_relative_to(folder)]

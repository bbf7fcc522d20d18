"""The job's volume stays as it was made, and what the spec asks of it beyond that is told."""

from __future__ import annotations

from typing import Any

import pytest

DEFAULT = {"metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}
CLAIM = ("PersistentVolumeClaim", "court-artifacts")


def with_claim(law: Any, **spec: Any) -> None:
    """A claim of this name is there before the job, as a job of the same name left it."""
    made = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}, **spec}
    law.children[CLAIM] = {"kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM[1]}, "spec": made}


def volume(law: Any) -> dict[str, Any]:
    found: dict[str, Any] = law.children[CLAIM]["spec"]
    return found


def test_a_claim_names_the_class_that_is_the_default_when_it_is_made(law: Any) -> None:
    law.others[("StorageClass", "standard")] = DEFAULT
    law.start()
    assert volume(law)["storageClassName"] == "standard"
    law.others[("StorageClass", "standard")] = {"metadata": {"name": "standard"}}
    law.reconcile()
    assert volume(law)["storageClassName"] == "standard"


def test_a_volume_without_a_class_can_be_asked_for(law: Any) -> None:
    law.others[("StorageClass", "standard")] = DEFAULT
    law.edit(checkpoints={"storage": {"storageClassName": ""}})
    law.run()
    assert volume(law)["storageClassName"] == ""
    assert law.condition("Admitted")["message"] == "the training pod may run"


def test_a_class_that_the_spec_names_no_more_stays_with_the_claim(law: Any) -> None:
    law.others[("StorageClass", "standard")] = DEFAULT
    with_claim(law, storageClassName="fast", volumeName="pv-1")
    law.start()
    assert volume(law)["storageClassName"] == "fast"


@pytest.mark.parametrize(
    ("claim", "storage", "told"),
    [
        (
            {"storageClassName": "fast", "volumeName": "pv-1"},
            {"storageClassName": "slow"},
            "StorageClass fast and not slow",
        ),
        ({"storageClassName": "fast"}, {"storageClassName": "slow"}, "StorageClass fast and not slow"),
        ({"storageClassName": "fast"}, {"storageClassName": ""}, "StorageClass fast and not none"),
        ({"volumeName": "pv-1"}, {"storageClassName": "slow"}, "StorageClass none and not slow"),
        ({"volumeName": "pv-1"}, {"accessMode": "ReadWriteMany"}, "ReadWriteOnce and not ReadWriteMany"),
        ({"volumeName": "pv-1"}, {"size": "15Gi"}, "20Gi and not 15Gi"),
    ],
    ids=[
        "another class",
        "another class, not bound",
        "no class",
        "a class for a volume without",
        "access mode",
        "smaller",
    ],
)
def test_what_a_volume_does_not_take_on_is_told_and_not_asked_for(
    law: Any, claim: dict[str, Any], storage: dict[str, str], told: str
) -> None:
    law.others[("StorageClass", "slow")] = {"metadata": {"name": "slow"}}
    with_claim(law, **claim)
    before = dict(volume(law))
    law.edit(checkpoints={"storage": storage})
    law.run()
    assert volume(law) == before
    admitted = law.condition("Admitted")
    assert admitted["message"] == f"the training pod may run; the volume stays as it is, with {told}"
    assert law.condition("Training")["status"] == "True"


def test_a_claim_that_waits_for_a_class_gets_the_one_that_the_spec_names(law: Any) -> None:
    law.others[("StorageClass", "slow")] = {"metadata": {"name": "slow"}}
    with_claim(law)
    law.edit(checkpoints={"storage": {"storageClassName": "slow"}})
    law.run()
    assert volume(law)["storageClassName"] == "slow"
    assert law.condition("Admitted")["message"] == "the training pod may run"


def test_a_volume_as_the_spec_asks_for_it_is_not_spoken_of(law: Any) -> None:
    law.edit(checkpoints={"storage": {"size": "20480Mi", "accessMode": "ReadWriteOnce"}})
    with_claim(law, volumeName="pv-1")
    law.run()
    assert law.condition("Admitted")["message"] == "the training pod may run"

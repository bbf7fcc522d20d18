"""What the operator was installed with: images and addresses that plans need and that never enter a user's spec."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Images(BaseModel):
    """Image references, by digest where the installer knows it."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=None)

    trainer: str
    indexer: str
    gateway: str
    vllm: str
    """Engine for GPU nodes."""
    vllm_cpu: str
    """Engine for `accelerator.count: 0`."""
    milvus: str
    milvus_lite: str


class Settings(BaseModel):
    """The operator's own configuration, from its mounted file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Images
    namespace: str = "hearth-system"
    """Where the operator runs."""
    cluster_domain: str = "cluster.local"
    progress_url: str = "https://hearth-progress.hearth-system.svc:8443"
    """Base of the progress endpoint that training and indexing pods push to."""
    progress_ca: str = ""
    """PEM of the authority that signed the progress endpoint's certificate; handed to the pods in their ConfigMap."""

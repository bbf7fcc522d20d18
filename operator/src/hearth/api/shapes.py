"""Shapes that more than one kind shares."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from hearth.api.base import ApiModel, Json, ListMap, ListSet, Name, PreserveUnknown, Quantity, Rule, Written

Uri = Annotated[str, StringConstraints(min_length=1, max_length=1024)]

ObjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253),
    Written(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "a name has lower case letters, digits, '-' and '.', and begins and ends with a letter or digit",
    ),
]
"""A DNS-1123 subdomain: what Kubernetes objects are called."""

Digest = Annotated[
    str,
    StringConstraints(max_length=71),
    Written(r"^sha256:[0-9a-f]{64}$", "write a digest as sha256: and 64 hexadecimal digits in lower case"),
]
"""A sha256 digest."""

ComputeCapability = Annotated[
    str,
    StringConstraints(max_length=16),
    Written(r"^[0-9]{1,2}\.[0-9]$", 'write a compute capability in quotes, such as "8.0" or "8.9"'),
]
"""A CUDA compute capability, as text: 10.0 is greater than 8.9."""

NAMED_VOLUME = (
    "!self.uri.matches('^(pvc|configMap)://.') || "
    "self.uri.matches('^(pvc|configMap)://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/|$)')"
)
"""CEL: a `uri` whose first part names a claim or a ConfigMap names one. `..` would be a part of a URL's path."""
UNNAMED_VOLUME = (
    "uri must name an object behind configMap:// or pvc://, in lower case letters, digits, '-' and '.': "
    "configMap://name/key, pvc://claim/path"
)
"""What is said where it does not."""

Labels = Annotated[dict[str, Annotated[str, StringConstraints(max_length=63)]], Field(max_length=32)]
"""Label keys and values."""

Annotations = Annotated[dict[str, Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=32)]
"""Annotation keys and values."""


class LocalObjectReference(ApiModel):
    """A reference to an object in the same namespace."""

    name: ObjectName
    """Name of the object."""


class FromFineTune(ApiModel):
    """A model that a FineTuneJob in the same namespace produced."""

    name: Name
    """Name of the FineTuneJob."""
    artifact: Literal["Merged", "Adapter"] | None = None
    """Which artifact. Unset: Merged. An Adapter cannot be served by itself."""
    digest: Digest | None = None
    """Pins one artifact. An artifact whose gate was not met is used only when its digest is written here."""


class ModelSource(ApiModel):
    """Where a model comes from: exactly one of `uri` and `fromFineTune`."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.uri) != has(self.fromFineTune)", "set exactly one of uri and fromFineTune"),
        Rule(
            "!has(self.uri) || self.uri.matches('^(hf|pvc|oci)://.+')",
            "uri must start with hf://, pvc:// or oci:// (hf://repo@revision, pvc://claim/path, oci://image@digest)",
        ),
        Rule(
            f"!has(self.uri) || {NAMED_VOLUME}",
            "uri must name a claim behind pvc://, in lower case letters, digits, '-' and '.': pvc://claim/path",
        ),
        Rule(
            "!has(self.secretRef) || (has(self.uri) && self.uri.startsWith('hf://'))",
            "secretRef is the Hugging Face token of an hf:// source; other schemes do not read it",
        ),
    )

    uri: Uri | None = None
    """`hf://repo@revision`, `pvc://claim/path` or `oci://image[@digest]` (mounted as an image volume)."""
    from_fine_tune: FromFineTune | None = None
    """A FineTuneJob's artifact; its digest is pinned and verified before the model is loaded. Only for an LLMService: a
    FineTuneJob refuses it."""
    secret_ref: LocalObjectReference | None = None
    """Secret with the hub token under the key `token`. Only for hf://."""


class Accelerator(ApiModel):
    """The GPUs that one pod asks for."""

    count: Annotated[int, Field(ge=0, le=16)] | None = None
    """GPUs per pod. 0 runs on CPU. Unset: an LLMService takes as many as its memory plan needs; a FineTuneJob takes one
    GPU where there is one or the fields beside this one describe one, else the CPU."""
    resource_name: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Extended resource to ask for. Unset: nvidia.com/gpu."""
    min_memory: Quantity | None = None
    """Least memory of one GPU, compared in decimal: `24G` fits an L4 that reports 23034 MiB."""
    min_compute_capability: ComputeCapability | None = None
    """Least CUDA compute capability, for example "8.0"; compared as numbers."""
    products: (
        Annotated[list[Annotated[str, StringConstraints(max_length=63)]], Field(max_length=16), ListSet()] | None
    ) = None
    """Accepted values of the node label nvidia.com/gpu.product."""


class Toleration(ApiModel):
    """A toleration, as in core/v1."""

    key: Annotated[str, StringConstraints(max_length=316)] | None = None
    """Taint key; unset with operator Exists tolerates everything."""
    operator: Literal["Equal", "Exists"] | None = None
    """Equal or Exists."""
    value: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Taint value for Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; unset matches all."""


class Scheduling(ApiModel):
    """Where and in which queue the pods run."""

    queue_name: Name | None = None
    """Kueue LocalQueue. A training Job is created suspended and Kueue admits it. Of a service, the engine's Deployment
    is given Kueue's label, and nothing else."""
    priority_class_name: Annotated[str, StringConstraints(max_length=253)] | None = None
    """PriorityClass of the pods."""
    node_selector: Labels | None = None
    """Labels that the node must carry."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    """Taints that the pods tolerate."""


class Storage(ApiModel):
    """A volume claim."""

    size: Quantity | None = None
    """Requested size, a floor: more makes the volume grow, and it never shrinks."""
    storage_class_name: Annotated[str, StringConstraints(max_length=253)] | None = None
    """StorageClass; "" for a volume without one. Unset: the cluster's default class when the volume is made."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"] | None = None
    """Access mode; unset: ReadWriteOnce."""


class EnvVar(ApiModel):
    """A literal environment variable."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=128),
        Written(r"^[A-Za-z_][A-Za-z0-9_]*$", "a variable's name has letters, digits and '_', and no digit first"),
    ]
    """Variable name."""
    value: Annotated[str, StringConstraints(max_length=4096)]
    """Literal value; references to Secrets are not read here."""


class ResourceRequirements(ApiModel):
    """CPU and memory of the main container, as in core/v1."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] | None = None
    """What the scheduler reserves."""
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] | None = None
    """What the kubelet enforces."""


class PodOverrides(ApiModel):
    """The allow-listed part of a pod that a user may set; everything else is the operator's."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.labels) || self.labels.all(key, !key.startsWith('hearth.dev/'))",
            "labels under hearth.dev/ are the operator's own; choose another prefix",
            field_path=".labels",
        ),
        Rule(
            "!has(self.annotations) || self.annotations.all(key, !key.startsWith('hearth.dev/'))",
            "annotations under hearth.dev/ are the operator's own; choose another prefix",
            field_path=".annotations",
        ),
    )

    labels: Labels | None = None
    """Extra labels. Labels under hearth.dev/ are refused."""
    annotations: Annotations | None = None
    """Extra annotations. Annotations under hearth.dev/ are refused."""
    node_selector: Labels | None = None
    """Labels that the node must carry; merged over scheduling.nodeSelector where the resource has one."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    """Taints that the pods tolerate; added to scheduling.tolerations where the resource has them."""
    affinity: Annotated[Json, PreserveUnknown()] | None = None
    """A core/v1 Affinity; its node affinity is combined with the one for GPUs, where the pod asks for any."""
    env: Annotated[list[EnvVar], Field(max_length=64), ListMap()] | None = None
    """Extra literal environment variables of the main container. Where a model is read first, they reach the container
    that does so too: HF_ENDPOINT and HTTPS_PROXY have to reach both."""
    resources: ResourceRequirements | None = None
    """CPU and memory of the main container."""
    runtime_class_name: Annotated[str, StringConstraints(max_length=253)] | None = None
    """RuntimeClass of the pod."""
    image_pull_secrets: Annotated[list[LocalObjectReference], Field(max_length=8), ListMap()] | None = None
    """Secrets for pulling images."""


class DataSource(ApiModel):
    """Where rows or documents come from."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.uri.matches('^(hf|pvc|configMap|oci|https)://.+')",
            "uri must start with configMap://, pvc://, oci://, hf:// or https:// "
            "(configMap://name/key, pvc://claim/path, oci://image@digest, hf://repo@revision, https://host/file)",
        ),
        Rule(NAMED_VOLUME, UNNAMED_VOLUME),
    )

    uri: Uri
    """`configMap://name[/key]`, `pvc://claim/path`, `oci://image[@digest]`, `hf://dataset@revision` or `https://…`."""
    secret_ref: LocalObjectReference | None = None
    """Secret with the source's token under the key `token` (hf://, https://)."""
    include: Annotated[list[Annotated[str, StringConstraints(max_length=256)]], Field(max_length=32)] | None = None
    """Glob patterns of files to take. Unset: all."""
    exclude: Annotated[list[Annotated[str, StringConstraints(max_length=256)]], Field(max_length=32)] | None = None
    """Glob patterns of files to leave out; wins over include."""

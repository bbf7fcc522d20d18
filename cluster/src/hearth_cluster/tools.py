"""The pinned programs a cluster is made of: which Go module carries which, and how it is built."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

_KUBERNETES = "k8s.io/kubernetes"
_CSI = "github.com/kubernetes-csi"


@dataclass(frozen=True, eq=False)
class ToolModule:
    """One folder below `cluster/tools`: a Go module that pins programs, their dependencies and checksums."""

    name: str
    path: str
    """Module path whose version names the build."""
    packages: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Program name -> Go package of its main function."""

    def version(self, tools_dir: Path) -> str:
        """The version of `path` that the module's go.mod requires."""
        text = (tools_dir / self.name / "go.mod").read_text()
        found = re.search(rf"^\s*(?:require\s+)?{re.escape(self.path)}\s+(v\S+)", text, re.MULTILINE)
        if found is None:
            raise ValueError(f"{self.name}/go.mod does not require {self.path}")
        return found.group(1)

    def build_id(self, tools_dir: Path) -> str:
        """Folder name of the built programs: the version, and a digest that changes with any pinned dependency."""
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((tools_dir / self.name / name).read_bytes())
        return f"{self.name}-{self.version(tools_dir)}-{digest.hexdigest()[:8]}"

    def link_flags(self, tools_dir: Path) -> str:
        """Linker flags: no debug tables; Kubernetes is told its version, or clients would see v0.0.0."""
        flags = ["-s", "-w"]
        if self.path == _KUBERNETES:
            version = self.version(tools_dir)
            major, minor, _ = version.removeprefix("v").split(".", 2)
            for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
                flags += [f"-X {package}.gitVersion={version}"]
                flags += [f"-X {package}.gitMajor={major}", f"-X {package}.gitMinor={minor}"]
        return " ".join(flags)


def _module(name: str, path: str, packages: dict[str, str]) -> ToolModule:
    return ToolModule(name, path, MappingProxyType(packages))


def _kubernetes_commands(*names: str) -> dict[str, str]:
    return {name: f"{_KUBERNETES}/cmd/{name}" for name in names}


MODULES: tuple[ToolModule, ...] = (
    _module(
        "kubernetes",
        _KUBERNETES,
        {
            "etcd": "go.etcd.io/etcd/server/v3",
            **_kubernetes_commands("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
            **_kubernetes_commands("kubeadm", "kubectl", "kubelet"),
        },
    ),
    _module("kwok", "sigs.k8s.io/kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}),
    _module(
        "containerd",
        "github.com/containerd/containerd/v2",
        {
            name: f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        },
    ),
    _module(
        "registry",
        "github.com/distribution/distribution/v3",
        {"registry": "github.com/distribution/distribution/v3/cmd/registry"},
    ),
    _module("coredns", "github.com/coredns/coredns", {"coredns": "github.com/coredns/coredns"}),
    _module(
        "csi-provisioner",
        f"{_CSI}/external-provisioner/v5",
        {"csi-provisioner": f"{_CSI}/external-provisioner/v5/cmd/csi-provisioner"},
    ),
    _module(
        "csi-resizer",
        f"{_CSI}/external-resizer",
        {"csi-resizer": f"{_CSI}/external-resizer/cmd/csi-resizer"},
    ),
    _module(
        "csi-snapshotter",
        f"{_CSI}/external-snapshotter/v8",
        {name: f"{_CSI}/external-snapshotter/v8/cmd/{name}" for name in ("csi-snapshotter", "snapshot-controller")},
    ),
    _module("helm", "helm.sh/helm/v4", {"helm": "helm.sh/helm/v4/cmd/helm"}),
    _module("helm3", "helm.sh/helm/v3", {"helm3": "helm.sh/helm/v3/cmd/helm"}),
    _module("kind", "sigs.k8s.io/kind", {"kind": "sigs.k8s.io/kind"}),
    _module("kueue", "sigs.k8s.io/kueue", {"kueue": "sigs.k8s.io/kueue/cmd/kueue"}),
)

CONTROL_PLANE_TOOLS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubeadm",
    "kubectl",
)


def module_of(program: str) -> ToolModule:
    """The module that carries `program`. Raises KeyError for a program that no module pins."""
    for module in MODULES:
        if program in module.packages:
            return module
    raise KeyError(program)

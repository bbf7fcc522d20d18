"""Pinned programs: one Go module each, built under a name that changes with any dependency."""

from __future__ import annotations

from pathlib import Path

import pytest
from hearth_cluster.binaries import _binary_name
from hearth_cluster.paths import source_dir
from hearth_cluster.tools import MODULES, ToolModule, module_of

TOOLS = source_dir() / "tools"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.name))
def test_every_program_is_a_tool_of_a_module_with_checksums(module: ToolModule) -> None:
    text = (TOOLS / module.name / "go.mod").read_text()
    for package in module.packages.values():
        assert package in text.split("require", 1)[0]
    assert module.version(TOOLS).startswith("v")
    assert (TOOLS / module.name / "go.sum").stat().st_size > 0


def test_every_module_folder_is_known() -> None:
    assert {path.parent.name for path in TOOLS.glob("*/go.mod")} == {module.name for module in MODULES}


def test_kubernetes_programs_are_told_their_version() -> None:
    flags = module_of("kubelet").link_flags(TOOLS)
    version = module_of("kubelet").version(TOOLS)
    assert f"-X k8s.io/component-base/version.gitVersion={version}" in flags
    assert f"-X k8s.io/client-go/pkg/version.gitVersion={version}" in flags


def test_all_staging_modules_of_kubernetes_have_the_matching_version() -> None:
    version = module_of("kubelet").version(TOOLS)
    lines = [line.split("=>") for line in (TOOLS / "kubernetes" / "go.mod").read_text().splitlines() if "=>" in line]
    assert len(lines) > 30
    assert {target.split()[1] for _, target in lines} == {version.replace("v1.", "v0.", 1)}


def test_a_changed_checksum_changes_the_build(tmp_path: Path) -> None:
    module = module_of("registry")
    folder = tmp_path / module.name
    folder.mkdir()
    for name in ("go.mod", "go.sum"):
        (folder / name).write_text((TOOLS / module.name / name).read_text())
    before = module.build_id(tmp_path)
    with (folder / "go.sum").open("a") as handle:
        handle.write("example.org/new v1.0.0 h1:x=\n")
    assert module.build_id(tmp_path) != before


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("go.etcd.io/etcd/server/v3", "server"),
        ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
        ("github.com/coredns/coredns", "coredns"),
    ],
)
def test_the_compilers_name_for_a_program(package: str, name: str) -> None:
    assert _binary_name(package) == name

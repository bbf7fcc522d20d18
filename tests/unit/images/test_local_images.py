"""The scripts that run while local images are built."""

from __future__ import annotations

import ctypes
import lzma
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

LOCAL = Path(__file__).resolve().parents[3] / "images/local"


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    package = tmp_path / "data"
    (package / "bin").mkdir(parents=True)
    (package / "bin/milvus.lzma").write_bytes(lzma.compress(b"the server"))
    (package / "glog.conf").write_text("--logtostdout=false\n")
    (package / "config.yaml.template").write_text(
        "port: {{ proxy_port(int): 19530 }}\nlevel: {{ etcd_log_level: info }} # one of\n"
        "dir: {{ etcd_data_dir }}\nrootPath: {{ system_log_path }} # no file\n"
    )
    main = runpy.run_path(str(LOCAL / "milvus/unpack.py"))["main"]
    main(package, tmp_path / "milvus")
    return tmp_path / "milvus"


def test_milvus_binaries_are_unpacked_and_executable(unpacked: Path) -> None:
    binary = unpacked / "bin/milvus"
    assert binary.read_bytes() == b"the server"
    assert binary.stat().st_mode & 0o111 == 0o111


def test_milvus_keeps_its_data_where_the_official_image_does(unpacked: Path) -> None:
    assert (unpacked / "configs/milvus.yaml").read_text() == (
        'port: 19530\nlevel: info # one of\ndir: /var/lib/milvus/etcd\nrootPath: "" # no file\n'
    )


@pytest.mark.skipif(shutil.which("as") is None or shutil.which("ld") is None, reason="binutils is not installed")
def test_a_link_stub_defines_functions_that_report_an_error(tmp_path: Path) -> None:
    script = runpy.run_path(str(LOCAL / "torch/cpu_only.py"))
    symbol = script["Symbol"]
    target = tmp_path / "libcublas.so.13"
    script["write_stub"](target, [symbol("cublasCreate_v2", "libcublas.so.13"), symbol("cublasDestroy_v2", "")])
    library = ctypes.CDLL(str(target))
    assert (library.cublasCreate_v2(), library.cublasDestroy_v2()) == (999, 999)


@pytest.mark.skipif(shutil.which("readelf") is None, reason="binutils is not installed")
def test_a_stub_defines_what_a_library_takes_from_it_and_no_more(tmp_path: Path) -> None:
    script = runpy.run_path(str(LOCAL / "torch/cpu_only.py"))
    user = tmp_path / "libtorch_cuda.so"
    script["write_stub"](tmp_path / "libcublasLt.so.13", [script["Symbol"]("cublasLtCreate", "")])
    link_against(user, tmp_path / "libcublasLt.so.13", ["cublasLtCreate", "cudaMalloc"])
    assert script["stubs_for"]([user]) == {"libcublasLt.so.13": [script["Symbol"]("cublasLtCreate", "")]}


def link_against(target: Path, library: Path, symbols: list[str]) -> None:
    """Links a shared object that needs `library` and refers to `symbols`."""
    source = target.with_suffix(".s")
    source.write_text(".data\n" + "".join(f".quad {symbol}\n" for symbol in symbols))
    subprocess.run(["as", "-o", source.with_suffix(".o"), source], check=True)
    subprocess.run(["ld", "-shared", "-o", target, source.with_suffix(".o"), library], check=True)

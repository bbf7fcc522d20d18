"""Take NVIDIA's libraries out of an installed torch, which then runs on CPUs alone.

PyPI serves torch for x86-64 Linux as the CUDA build alone: with NVIDIA's libraries and triton it unpacks to 4.9 GB,
of which a node without a GPU runs a tenth. torch's own libraries are linked against NVIDIA's, so those can't simply be
left out. This script writes link stubs in their place: shared objects of the same name that define just the symbols
torch refers to, as the CUDA toolkit's own `lib64/stubs` folder has them for machines without a driver.
`torch.cuda.is_available()` is false, as on any machine without a driver, so no stub is ever called; one that were
would return 999 (cudaErrorUnknown).

Usage: python cpu_only.py SITE_PACKAGES   (needs readelf, as and ld from binutils)
"""

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

STUBBED = {
    "libcublas.so.13": "cublas",
    "libcublasLt.so.13": "cublasLt",
    "libcudnn.so.9": "cudnn",
    "libcufft.so.12": "cufft",
    "libcurand.so.10": "curand",
    "libcusparse.so.12": "cusparse",
    "libcusparseLt.so.0": "cusparseLt",
    "libnccl.so.2": "nccl",
    "libnvrtc.so.13": "nvrtc",
    "libnvshmem_host.so.3": "nvshmem",
}
"""NVIDIA's libraries that torch is linked against and that aren't installed, with the prefix of their functions."""

UNUSED = ("lib/libtorch_cuda_linalg.so", "include", "share", "bin/protoc", "bin/protoc-3.13.0.0", "lib/libshm_windows")
"""Parts of the torch package that only a GPU or compiling C++ extensions need."""

PROFILING_ONLY = ("libnvperf_host.so", "libnvperf_target.so", "libpcsamplingutil.so", "libcheckpoint.so")
"""Libraries beside CUPTI that only profiling a GPU opens."""


@dataclass(frozen=True, order=True)
class Symbol:
    """One dynamic symbol: its mangled name and, where the linker recorded one, its version (`libcudart.so.13`)."""

    name: str
    version: str


def readelf(option: str, library: Path) -> list[str]:
    command = ["readelf", "--wide", option, str(library)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def needed_libraries(library: Path) -> set[str]:
    """The sonames `library` asks the loader for."""
    return {match[1] for line in readelf("--dynamic", library) if (match := re.search(r"\(NEEDED\).*\[(.+)\]", line))}


def undefined_symbols(library: Path) -> set[Symbol]:
    """The symbols `library` must find in other libraries (weak ones may stay unresolved and are left out)."""
    wanted: set[Symbol] = set()
    for line in readelf("--dyn-syms", library):
        fields = line.split()
        if len(fields) >= 8 and fields[4] == "GLOBAL" and fields[6] == "UND":
            name, _, version = fields[7].replace("@@", "@").partition("@")
            wanted.add(Symbol(name, version))
    return wanted


def assembly_for(symbols: list[Symbol]) -> str:
    lines = ['.section .note.GNU-stack,"",@progbits', ".text"]
    for name in sorted({symbol.name for symbol in symbols}):
        lines += [f".globl {name}", f".type {name},@function", f"{name}: mov $999,%eax", "ret"]
    return "\n".join(lines) + "\n"


def write_stub(target: Path, symbols: list[Symbol]) -> None:
    """Assemble and link a shared object called `target.name` that defines `symbols` under their versions."""
    versions = sorted({symbol.version for symbol in symbols if symbol.version})
    with tempfile.TemporaryDirectory() as folder:
        source, script, built = (Path(folder, name) for name in ("stub.s", "versions", "stub.o"))
        source.write_text(assembly_for(symbols))
        script.write_text("".join(version_node(version, symbols) for version in versions))
        subprocess.run(["as", "-o", built, source], check=True)
        options = [f"--version-script={script}"] if versions else []
        subprocess.run(["ld", "-shared", f"-soname={target.name}", *options, "-o", target, built], check=True)


def version_node(version: str, symbols: list[Symbol]) -> str:
    names = " ".join(f"{symbol.name};" for symbol in sorted(symbols) if symbol.version == version)
    return f"{version} {{ global: {names} }};\n"


def stubs_for(libraries: list[Path]) -> dict[str, list[Symbol]]:
    """For every library in `STUBBED` that `libraries` ask for: the symbols they take from it.

    A version is mostly the name of its library; otherwise the longest prefix that fits decides.
    """
    asked_for = {name for library in libraries for name in needed_libraries(library)}
    stubs: dict[str, list[Symbol]] = {name: [] for name in STUBBED if name in asked_for}
    longest_first = sorted(stubs, key=lambda name: -len(STUBBED[name]))
    for symbol in sorted(set().union(*(undefined_symbols(library) for library in libraries))):
        by_prefix = next((name for name in longest_first if symbol.name.startswith(STUBBED[name])), None)
        home = symbol.version if symbol.version in stubs else by_prefix
        if home:
            stubs[home].append(symbol)
    return stubs


def strip_to_cpu(site_packages: Path) -> None:
    torch = site_packages / "torch"
    for name in UNUSED:
        path = torch / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for library in site_packages.glob("nvidia/*/lib/*"):
        if library.name in PROFILING_ONLY or library.suffix == ".a":
            library.unlink()
    for name, symbols in stubs_for(sorted((torch / "lib").glob("*.so*"))).items():
        write_stub(torch / "lib" / name, symbols)
        print(f"{name}: a stub of {len(symbols)} functions")


if __name__ == "__main__":
    strip_to_cpu(Path(sys.argv[1]))

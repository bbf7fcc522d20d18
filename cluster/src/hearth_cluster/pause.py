"""The image of the process that holds a pod's namespaces: one static program of our own, packed by hand."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tarfile
import tempfile
from pathlib import Path

from hearth_cluster.node_config import PAUSE_IMAGE
from hearth_cluster.paths import cache_dir, source_dir
from hearth_cluster.processes import Command, run_checked

# What the OCI image specification (GOARCH) calls the machines that uname names.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_TYPES = "application/vnd.oci.image"


def archive() -> Path:
    """The image as an OCI archive, built into the cache if its source has changed."""
    source = source_dir() / "pause"
    digest = hashlib.sha256((source / "main.go").read_bytes()).hexdigest()[:12]
    path = cache_dir() / "bin" / f"pause-{digest}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        scratch.write_bytes(oci_archive(_program(source), PAUSE_IMAGE))
        scratch.rename(path)
    return path


def _program(source: Path) -> bytes:
    environment = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pause"
        command: Command = ["go", "-C", source, "build", "-trimpath", "-ldflags", "-s -w", "-o", output, "."]
        run_checked(command, environment=environment)
        return output.read_bytes()


def oci_archive(program: bytes, reference: str) -> bytes:
    """An OCI image layout (image-spec, image-layout.md) in a tar: one layer with the program as /pause."""
    layer = _tar({"pause": program})
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    config_blob = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_TYPES}.manifest.v1+json",
        "config": _descriptor(config_blob, "config.v1+json"),
        "layers": [_descriptor(layer, "layer.v1.tar")],
    }
    manifest_blob = json.dumps(manifest).encode()
    entry = {
        **_descriptor(manifest_blob, "manifest.v1+json"),
        "annotations": {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference},
    }
    index = {"schemaVersion": 2, "mediaType": f"{_TYPES}.index.v1+json", "manifests": [entry]}
    blobs = {f"blobs/sha256/{_digest(blob)[7:]}": blob for blob in (layer, config_blob, manifest_blob)}
    return _tar({"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode(), **blobs})


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _descriptor(blob: bytes, kind: str) -> dict[str, object]:
    return {"mediaType": f"{_TYPES}.{kind}", "digest": _digest(blob), "size": len(blob)}


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()

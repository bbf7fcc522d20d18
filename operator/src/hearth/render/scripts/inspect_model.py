"""Reads what a model's files say about it, and which model it is, without loading it.

Usage: inspect_model.py SOURCE, where SOURCE is a directory or hf://repository[@revision].
Writes {"facts": {...}} or {"error": {"class": ..., "message": ..., "suggestion": ...}} to the termination log.
Exit codes: 0 done, 66 the model is missing or unreadable, 69 the hub cannot be reached (worth another try).
Runs with Python's standard library alone, and model_layout.py beside it: both are mounted into images that hold no code
of ours.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import sys
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

if __package__:
    from hearth.render.scripts.model_layout import layout, text_part
else:  # beside this file, in an image that holds no code of ours
    from model_layout import layout, text_part  # type: ignore[import-not-found,no-redef]

MISSING, UNAVAILABLE = 66, 69
HEADER_LIMIT = 100 * 2**20
SMALL_FILE = 32 * 2**20
DIGEST_FORM = "hearth model digest, form 2"
"""Begins what is hashed: a digest of one form never equals one of another, so the two are never taken for one model."""
READ_WHOLE = 512 * 2**20
READ_BESIDE = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".safetensors", ".bin")
"""What an engine reads beside the weights; a README changes no answer."""
BLOCK, MOST_BLOCKS, LOOSE_BLOCKS = 4096, 4096, 16

DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64", "F8_E4M3": "float8_e4m3fn"}


class ModelError(Exception):
    """The model cannot be used: `kind` is ModelNotFound, ModelUnreadable or HubUnreachable."""

    def __init__(self, kind: str, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.suggestion = kind, message, suggestion


class Directory:
    """A model in a mounted folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.label = root, str(root)
        if not root.is_dir():
            above = next((p for p in root.parents if p.is_dir()), root)
            there = ", ".join(sorted(p.name for p in above.iterdir())[:8]) or "nothing"
            raise ModelError(
                "ModelNotFound",
                f"{root} does not exist; {above} holds: {there}",
                "correct the path in spec.model, or put the model there",
            )

    def names(self) -> list[str]:
        """Files below the folder, by their relative path."""
        found = (p for p in self.root.rglob("*") if p.is_file() and not p.name.startswith("."))
        return sorted(str(p.relative_to(self.root)) for p in found)

    def size(self, name: str) -> int:
        """Size of a file in bytes."""
        return (self.root / name).stat().st_size

    def read(self, name: str, limit: int, offset: int = 0) -> bytes:
        """At most `limit` bytes from `offset`."""
        with (self.root / name).open("rb") as file:
            file.seek(offset)
            return file.read(limit)

    def identity(self, name: str, offsets: list[int] | None) -> str:
        """What stands for a file's bytes: a hash of all of them, or of the block at each offset."""
        with (self.root / name).open("rb") as file:
            if offsets is None:
                return hashlib.file_digest(file, "sha256").hexdigest()
            found = hashlib.sha256()
            # Without this the kernel reads 128 KiB and more around every block.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            for offset in offsets:
                found.update(os.pread(file.fileno(), BLOCK, offset))
            return found.hexdigest()


class KeepTokenAtHome(urllib.request.HTTPRedirectHandler):
    """Follows redirects to a content network without handing it the hub's token."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The next request, without the Authorization header where the host differs."""
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            made.remove_header("Authorization")
        return made


class Hub:
    """A model in a Hugging Face repository, read by HTTPS ranges: no weights are fetched."""

    def __init__(self, uri: str) -> None:
        repository, _, revision = uri.removeprefix("hf://").partition("@")
        self.label = uri
        self.base = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        self.opener = urllib.request.build_opener(KeepTokenAtHome())
        self.bearer = _bearer(uri)
        self.repository, self.revision = repository, revision or "main"
        at = f"{self.base}/api/models/{repository}/revision/{quote(self.revision, safe='')}"
        listing = json.loads(self._get(f"{at}?blobs=true"))
        self.files = {s["rfilename"]: s for s in listing.get("siblings", [])}
        self.commit: str | None = listing.get("sha")
        self.revision = self.commit or self.revision

    def names(self) -> list[str]:
        """Files of the repository."""
        return sorted(self.files)

    def size(self, name: str) -> int:
        """Size of a file in bytes."""
        return int(self.files[name].get("size") or 0)

    def read(self, name: str, limit: int, offset: int = 0) -> bytes:
        """At most `limit` bytes from `offset`."""
        url = f"{self.base}/{self.repository}/resolve/{quote(self.revision, safe='')}/{quote(name)}"
        return self._get(url, {"Range": f"bytes={offset}-{offset + limit - 1}"})[:limit]

    def identity(self, name: str, offsets: list[int] | None) -> str:  # noqa: ARG002 - the hub has read it all
        """What stands for a file's bytes: the hub's own hash of all of them; of a mirror without hashes, the commit."""
        told = self.files[name]
        return str((told.get("lfs") or {}).get("sha256") or told.get("blobId") or f"{name} of commit {self.revision}")

    def _get(self, url: str, headers: dict[str, str] | None = None) -> bytes:
        request = urllib.request.Request(url, headers=self.bearer | (headers or {}))  # noqa: S310 - https by default
        try:
            with self.opener.open(request, timeout=30) as response:
                body: bytes = response.read()
                return body
        except urllib.error.HTTPError as error:
            raise self._refused(error) from error
        except (OSError, HTTPException) as error:
            raise ModelError(
                "HubUnreachable",
                f"{self.label}: no answer from {self.base}: {getattr(error, 'reason', error)}",
                "use pvc:// or oci:// on a cluster without a hub, or set HF_ENDPOINT to a mirror",
            ) from error

    def _refused(self, error: urllib.error.HTTPError) -> ModelError:
        if error.code in (401, 403):
            advice = "give a token that may read it: spec.model.secretRef, key `token`"
            return ModelError("ModelNotFound", f"{self.label}: the hub answers {error.code}", advice)
        if error.code == 404:
            advice = "correct the repository or the revision"
            return ModelError("ModelNotFound", f"{self.label}: no such repository or revision", advice)
        return ModelError("HubUnreachable", f"{self.label}: the hub answers {error.code}", "")


def _bearer(uri: str) -> dict[str, str]:
    """The Authorization header, without the line break that ends a token's file."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if not (token.isascii() and token.isprintable()):
        # Python refuses such a header by quoting it, and what is reported here stands in a status for all to read.
        raise ModelError(
            "ModelNotFound",
            f"{uri}: the token for the hub is not one line of printable ASCII",
            "put the token, and nothing else, under the key `token` of the Secret in spec.model.secretRef",
        )
    return {"Authorization": f"Bearer {token}"} if token else {}


Source = Directory | Hub


def read_json(source: Source, name: str) -> dict[str, Any]:
    """A small JSON file of the model."""
    try:
        decoded = json.loads(source.read(name, SMALL_FILE))
    except ValueError as error:
        raise ModelError("ModelUnreadable", f"{source.label}/{name} is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise ModelError("ModelUnreadable", f"{source.label}/{name} is not a JSON object")
    return decoded


def weight_files(source: Source, names: list[str]) -> list[str]:
    """The safetensors files that make up the model."""
    if "model.safetensors.index.json" in names:
        listed = sorted(set(read_json(source, "model.safetensors.index.json").get("weight_map", {}).values()))
        missing = [f for f in listed if f not in names]
        if missing:
            raise ModelError(
                "ModelUnreadable",
                f"{source.label}: {len(missing)} files of model.safetensors.index.json are absent: {missing[0]}",
                "copy the model again: it is incomplete",
            )
        return [str(f) for f in listed]
    found = [n for n in names if n.endswith(".safetensors") and "/" not in n and not n.startswith("adapter_")]
    if not found:
        other = [n for n in names if n.endswith((".bin", ".gguf", ".pt", ".pth"))]
        raise ModelError(
            "ModelUnreadable",
            f"{source.label} holds no .safetensors weights" + (f", only {other[0]}" if other else ""),
            "convert the weights with save_pretrained (safetensors is its format)",
        )
    return found


def tensor_header(source: Source, name: str) -> tuple[bytes, dict[str, Any]]:
    """The header of a safetensors file: eight bytes of length, then JSON (huggingface/safetensors README)."""
    prefix = source.read(name, 8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    size = source.size(name)
    if not 0 < length <= HEADER_LIMIT or (size and 8 + length > size):
        raise ModelError("ModelUnreadable", f"{source.label}/{name} is no safetensors file, or was cut off")
    raw = source.read(name, length, 8)
    try:
        header: dict[str, Any] = json.loads(raw)
    except ValueError as error:
        raise ModelError("ModelUnreadable", f"{source.label}/{name}: broken header: {error}") from error
    tensors = {k: v for k, v in header.items() if k != "__metadata__"}
    end = max((v["data_offsets"][1] for v in tensors.values()), default=0)
    if size and size < 8 + length + end:
        raise ModelError(
            "ModelUnreadable",
            f"{source.label}/{name} has {size} bytes where its header promises {8 + length + end}",
            "copy the model again: the file is cut off",
        )
    return raw, tensors


def weights(source: Source, files: list[str]) -> tuple[int, int, str, dict[str, str]]:
    """Elements, bytes and prevailing type of all tensors, and what stands for each file's bytes (see `digest`)."""
    parameters, size = 0, 0
    by_type: dict[str, int] = {}
    identities: dict[str, str] = {}
    whole = sum(source.size(name) for name in files)
    for name in files:
        raw, tensors = tensor_header(source, name)
        for tensor in tensors.values():
            begin, end = tensor["data_offsets"]
            parameters += math.prod(tensor["shape"])
            size += end - begin
            by_type[tensor["dtype"]] = by_type.get(tensor["dtype"], 0) + end - begin
        blocks = None if whole <= READ_WHOLE else max(LOOSE_BLOCKS, MOST_BLOCKS * source.size(name) // whole)
        offsets = None if blocks is None else tensor_blocks(8 + len(raw), tensors, blocks)
        identities[name] = f"{hashlib.sha256(raw).hexdigest()} {source.identity(name, offsets)}"
    if not by_type:
        raise ModelError("ModelUnreadable", f"{source.label}: {files[0]} holds no tensors", "copy the model again")
    prevailing = max(by_type, key=lambda t: by_type[t])
    return parameters, size, DTYPES.get(prevailing, prevailing.lower()), identities


def tensor_blocks(start: int, tensors: dict[str, Any], most: int) -> list[int]:
    """Where to read: the middle of every tensor, or of `most` tensors spread evenly over the file."""
    middles = sorted((start + sum(t["data_offsets"]) // 2) // BLOCK * BLOCK for t in tensors.values())
    return middles if len(middles) <= most else [middles[i * len(middles) // most] for i in range(most)]


def loose_identity(source: Source, name: str) -> str:
    """What stands for a file beside the weights: a tokenizer, a template, a sentence embedder's projection."""
    size = source.size(name)
    offsets = None if size <= SMALL_FILE else [i * size // LOOSE_BLOCKS for i in range(LOOSE_BLOCKS)]
    return source.identity(name, offsets)


def digest(source: Source, names: list[str], weighed: dict[str, str]) -> str:
    """Identity of the model: a hash over names, sizes, small files and weights. `weighed`: what stands for the weights.

    On the hub every byte counts, and none is read: the hub lists a hash of each file. In a folder every byte counts up
    to 512 MiB of weights (10 s at 50 MB/s). Of larger models 4 KiB from the middle of each tensor are read, of at most
    4096 tensors spread over the files (a few more where there are hundreds of files): 16 MiB whatever the model's size,
    4096 reads, 4 s where one takes a millisecond. Training changes a tensor throughout, and many of them, so it is
    seen; a few rows of one tensor, written into a large model by hand, may not be.

    A manifest.json that came along is one more small file: it says what the weights were once.
    """
    whole = hashlib.sha256(f"{DIGEST_FORM}\n".encode())
    for name in names:
        if name in weighed:
            content = weighed[name]
        elif name.endswith(READ_BESIDE):
            content = loose_identity(source, name)
        else:
            continue
        whole.update(f"{name}\0{source.size(name)}\0{content}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def architecture(source: Source, config: dict[str, Any]) -> dict[str, Any]:
    """The numbers of config.json under our names; a multimodal model's are those of its text part."""
    try:
        found = layout(config)
    except KeyError as error:
        raise ModelError("ModelUnreadable", f"{source.label}/config.json has no {error.args[0]}") from error
    flat = text_part(config)
    quantization = flat.get("quantization_config") or flat.get("compression_config")
    if isinstance(quantization, dict) and quantization.get("quant_method"):
        found["quantization"] = str(quantization["quant_method"])
    return found


def facts(source: Source) -> dict[str, Any]:
    """Everything the operator plans with (hearth.api.model_facts.ModelFacts)."""
    names = source.names()
    if "config.json" not in names:
        if "adapter_config.json" in names:
            raise ModelError(
                "ModelUnreadable", f"{source.label} is a LoRA adapter, not a whole model", "merge it first"
            )
        there = ", ".join(names[:8]) or "nothing"
        raise ModelError("ModelNotFound", f"{source.label} holds no config.json; it holds: {there}", "correct the path")
    found = architecture(source, read_json(source, "config.json"))
    parameters, size, dtype, weighed = weights(source, weight_files(source, names))
    found |= {"parameters": parameters, "weightBytes": size, "dtype": dtype}
    if "sentence_bert_config.json" in names:
        limit = read_json(source, "sentence_bert_config.json").get("max_seq_length")
        if isinstance(limit, int):
            found["maxPositionEmbeddings"] = min(found["maxPositionEmbeddings"], limit)
    found["chatTemplate"] = "chat_template.jinja" in names or (
        "tokenizer_config.json" in names and bool(read_json(source, "tokenizer_config.json").get("chat_template"))
    )
    found["digest"] = digest(source, names, weighed)
    if isinstance(source, Hub) and source.commit:
        found["revision"] = source.commit
    return found


def report(result: dict[str, Any]) -> None:
    """Writes the result where the kubelet takes it into the pod's status."""
    text = json.dumps(result, separators=(",", ":"), sort_keys=True)
    Path(os.environ.get("HEARTH_TERMINATION_LOG", "/dev/termination-log")).write_text(text, encoding="utf-8")
    sys.stdout.write(text + "\n")


def main(arguments: list[str]) -> int:
    """Inspects the one source that the arguments name."""
    uri = arguments[0]
    try:
        source: Source = Hub(uri) if uri.startswith("hf://") else Directory(Path(uri))
        report({"facts": facts(source)})
    except (ModelError, OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        if not isinstance(error, ModelError):
            error = ModelError("ModelUnreadable", f"{uri}: {type(error).__name__}: {error}")
        failure = {"class": error.kind, "message": error.message[:2000]}
        report({"error": failure | ({"suggestion": error.suggestion} if error.suggestion else {})})
        return UNAVAILABLE if error.kind == "HubUnreachable" else MISSING
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""An artifact is complete with its digests, or not there."""

import hashlib
import json
from pathlib import Path

from hearth_trainer.manifest import publish


def draft(root: Path, text: str = "weights") -> Path:
    folder = root / ".draft"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_text(text)
    (folder / "sub" / "note.txt").write_text("note")
    return folder


def test_an_artifact_is_named_by_the_digest_of_its_files(tmp_path: Path) -> None:
    made = publish(draft(tmp_path), tmp_path, "Merged", {"source": "oci://base", "digest": "sha256:0"}, {"seed": 42})
    manifest = json.loads((made.path / "manifest.json").read_text())
    canonical = json.dumps(manifest["files"], sort_keys=True, separators=(",", ":"))
    assert made.digest == manifest["digest"] == f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
    assert made.path.name == f"merged-{made.digest[7:19]}"
    assert [f["path"] for f in manifest["files"]] == ["model.safetensors", "sub/note.txt"]
    assert manifest["files"][0] == {
        "path": "model.safetensors",
        "size": 7,
        "sha256": hashlib.sha256(b"weights").hexdigest(),
    }
    assert (manifest["version"], manifest["kind"], manifest["lineage"]) == (1, "Merged", {"seed": 42})
    assert made.size == 11


def test_publishing_the_same_files_again_leaves_the_first_in_place(tmp_path: Path) -> None:
    first = publish(draft(tmp_path), tmp_path, "Adapter", {}, {})
    inode = (first.path / "model.safetensors").stat().st_ino
    again = publish(draft(tmp_path), tmp_path, "Adapter", {}, {})
    assert again == first
    assert (first.path / "model.safetensors").stat().st_ino == inode
    assert [p.name for p in tmp_path.iterdir()] == [first.path.name]


def test_other_files_are_another_artifact(tmp_path: Path) -> None:
    one = publish(draft(tmp_path), tmp_path, "Adapter", {}, {})
    other = publish(draft(tmp_path, "others"), tmp_path, "Adapter", {}, {})
    assert one.path != other.path
    assert one.path.exists()


def test_every_reader_may_read_what_is_published(tmp_path: Path) -> None:
    folder = draft(tmp_path)
    (folder / "model.safetensors").chmod(0o600)
    made = publish(folder, tmp_path, "Merged", {}, {})
    assert (made.path / "model.safetensors").stat().st_mode & 0o777 == 0o644

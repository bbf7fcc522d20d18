"""A checkpoint is complete or does not count."""

import json
from pathlib import Path

import pytest
from hearth_trainer import checkpoints


def write(root: Path, step: int, *, sealed: bool = True) -> Path:
    folder = root / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "optimizer.pt").write_bytes(b"moments")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    if sealed:
        checkpoints.seal(folder)
    return folder


def test_the_newest_complete_checkpoint_is_chosen_by_number_not_by_name(tmp_path: Path) -> None:
    write(tmp_path, 9)
    wanted = write(tmp_path, 10)
    assert checkpoints.newest(tmp_path) == wanted


def test_a_checkpoint_without_its_marker_does_not_count_and_is_removed(tmp_path: Path) -> None:
    wanted = write(tmp_path, 10)
    broken = write(tmp_path, 20, sealed=False)
    assert checkpoints.newest(tmp_path) == wanted
    assert checkpoints.discard_incomplete(tmp_path) == [broken]
    assert not broken.exists()
    assert wanted.exists()


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_marker_over_damaged_files_does_not_count(tmp_path: Path, damage: str) -> None:
    folder = write(tmp_path, 10)
    file = folder / "optimizer.pt"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(b"mom")
    assert checkpoints.newest(tmp_path) is None


def test_pruning_keeps_the_newest(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        write(tmp_path, step)
    checkpoints.prune(tmp_path, 2)
    assert [checkpoints.step_of(c) for c in checkpoints.all_of(tmp_path)] == [30, 20]


def test_pruning_does_not_count_incomplete_ones(tmp_path: Path) -> None:
    write(tmp_path, 10)
    write(tmp_path, 20)
    write(tmp_path, 30, sealed=False)
    checkpoints.prune(tmp_path, 2)
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-20"
    assert (tmp_path / "checkpoint-10").exists()


def test_an_empty_volume_has_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) is None
    assert checkpoints.discard_incomplete(tmp_path) == []

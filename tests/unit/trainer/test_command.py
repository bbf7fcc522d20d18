"""The container's command: exit codes and the termination log."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hearth_trainer.__main__ import main
from hearth_trainer.errors import BadDataError
from hearth_trainer.failures import recognise
from hearth_trainer.stopping import StopRequest
from hearth_trainer.termination import write_error
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer = Tokenizer(WordLevel({"[unk]": 0}, unk_token="[unk]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, "eos_token": "<end>"}))
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 64}))
    return folder


class Pod:
    """The files that a pod would mount."""

    def __init__(self, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.config: dict[str, Any] = {
            "model": {"path": str(model), "source": "oci://model"},
            "dataset": {"train": {"path": str(folder / "train.jsonl"), "source": "configMap://rows/train.jsonl"}},
            "checkpoints": {"path": str(folder / "checkpoints")},
            "output": {"path": str(folder / "artifacts")},
        }
        monkeypatch.setenv("HEARTH_CONFIG", str(folder / "config.json"))
        monkeypatch.setenv("HEARTH_TERMINATION_LOG", str(folder / "termination-log"))

    def run(self, command: str, *lines: str) -> int:
        (self.folder / "config.json").write_text(json.dumps(self.config))
        (self.folder / "train.jsonl").write_text("".join(f"{line}\n" for line in lines))
        return main([command])

    @property
    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "termination-log").read_text())
        return found


@pytest.fixture
def pod(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    return Pod(tmp_path, model, monkeypatch)


def row(number: int) -> str:
    return json.dumps({"prompt": f"question {number}", "completion": "a good answer"})


def test_good_rows_leave_counts_as_the_models_own_template_makes_them(pod: Pod) -> None:
    assert pod.run("prepare", *map(row, range(30))) == 0
    result = pod.said["result"]
    assert result["format"] == "PromptCompletion"
    assert result["trainRows"] + result["evalRows"] == 30
    # <user> question N <end> <assistant> a good answer <end>
    assert (result["longestRow"], result["longestTarget"]) == (9, 4)


def test_without_a_chat_template_what_a_text_begins_and_ends_with_is_counted(pod: Pod, model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.add_special_tokens(["<begin>", "<end>"])
    begin = ("<begin>", tokenizer.token_to_id("<begin>"))
    tokenizer.post_processor = TemplateProcessing(single="<begin> $A", special_tokens=[begin])
    tokenizer.save(str(model / "tokenizer.json"))
    (model / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<end>"}}))
    assert pod.run("prepare", *(json.dumps({"prompt": f"question {n} ", "completion": "yes"}) for n in range(30))) == 0
    # <begin> question N yes <end>
    assert (pod.said["result"]["longestRow"], pod.said["result"]["longestTarget"]) == (5, 2)


def test_a_broken_line_ends_with_65_and_says_which(pod: Pod) -> None:
    assert pod.run("prepare", row(1), "oops") == 65
    assert pod.said["error"]["class"] == "MalformedRow"
    assert "train.jsonl:2" in pod.said["error"]["message"]


def test_a_model_that_is_not_there_ends_with_66(pod: Pod) -> None:
    pod.config["model"]["path"] = str(pod.folder / "nowhere")
    assert pod.run("prepare", row(1)) == 66
    assert pod.said["error"]["class"] == "ModelNotFound"


def test_a_broken_chat_template_ends_with_66_and_says_where(pod: Pod, model: Path) -> None:
    (model / "chat_template.jinja").write_text("{% for m in messages %}\n{{ m.content }}\n{% endfour %}")
    assert pod.run("prepare", row(1)) == 66
    assert pod.said["error"]["class"] == "ModelUnreadable"
    assert "chat template is broken at line 3: Encountered unknown tag 'endfour'" in pod.said["error"]["message"]


def test_a_chat_template_that_refuses_a_row_ends_with_64_and_says_which(pod: Pod, model: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ messages[0].content + 1 }}")
    assert pod.run("prepare", row(1)) == 64
    assert pod.said["error"]["class"] == "TemplateRefused"
    assert "refuses train.jsonl:1: TypeError: can only concatenate str" in pod.said["error"]["message"]


def test_an_unknown_setting_ends_with_64_and_names_it(pod: Pod) -> None:
    pod.config["training"] = {"learningrate": 1}
    assert pod.run("prepare", row(1)) == 64
    assert "training.learningrate" in pod.said["error"]["message"]


def test_a_file_that_is_not_there_is_told_with_its_neighbours(pod: Pod) -> None:
    pod.config["dataset"]["train"]["path"] = str(pod.folder / "train.json")
    assert pod.run("prepare", row(1)) == 65
    assert "train.jsonl" in pod.said["error"]["message"]


def test_a_message_never_exceeds_the_kubelets_limit(pod: Pod) -> None:
    write_error(BadDataError("MalformedRow", "x" * 10_000, "y" * 10_000))
    assert len((pod.folder / "termination-log").read_bytes()) <= 4096


def test_linting_needs_no_torch() -> None:
    # A prepare pod must start in a second and fit in little memory.
    code = "import sys, hearth_trainer.__main__, hearth_trainer.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (OSError(28, "No space left on device"), 73, "DiskFull"),
        (RuntimeError("Error while serializing: IoError(Os { code: 28, No space left on device })"), 73, "DiskFull"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            137,
            "OutOfMemory",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), 137, "OutOfMemory"),
        (MemoryError(), 137, "OutOfMemory"),
    ],
)
def test_third_party_failures_are_recognised(error: Exception, code: int, kind: str, tmp_path: Path) -> None:
    outcome = recognise(error, tmp_path)
    assert outcome is not None
    assert (outcome.exit_code, outcome.kind) == (code, kind)


def test_a_wrapped_full_disk_is_still_a_full_disk(tmp_path: Path) -> None:
    wrapped = RuntimeError("save failed")
    wrapped.__cause__ = OSError(28, "No space left on device")
    outcome = recognise(wrapped, tmp_path)
    assert outcome is not None
    assert outcome.kind == "DiskFull"


@pytest.mark.parametrize(("free", "kind"), [(0, "DiskFull"), (2**30, None)], ids=["full", "not full"])
@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at inline_container.cc:672] . unexpected pos 18644224 vs 18644112",
        "basic_ios::clear: iostream error",
    ],
)
def test_a_write_that_failed_for_no_reason_given_is_a_full_disk_where_the_disk_is_full(
    said: str, free: int, kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What torch.save threw on a real volume without room.
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    outcome = recognise(RuntimeError(said), tmp_path)
    assert (outcome.kind if outcome else None) == kind


def test_a_bug_is_not_dressed_up_as_an_outcome(tmp_path: Path) -> None:
    assert recognise(KeyError("oops"), tmp_path) is None


def test_while_training_a_stop_is_remembered_and_afterwards_served() -> None:
    stop = StopRequest()
    with stop.deferred():
        stop._on_signal(15, None)
    assert stop.requested
    with pytest.raises(Exception, match="asked to stop") as caught:
        stop.check()
    assert caught.value.exit_code == 75  # type: ignore[attr-defined]


def test_outside_training_a_stop_is_served_at_once() -> None:
    with pytest.raises(Exception, match="asked to stop"):
        StopRequest()._on_signal(15, None)

"""What the trainer's own libraries do with a tiny model: these tests run where torch, transformers and TRL are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hearth_trainer.callbacks import Watch
from hearth_trainer.config import Config
from hearth_trainer.fit import build_trainer
from hearth_trainer.prepare import load_dataset
from hearth_trainer.stopping import StopRequest
from tiny_model import make


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model whose weights are stored in bfloat16, as most are."""
    return make(tmp_path_factory.mktemp("model"), torch.bfloat16)


class Job:
    """The files that a training pod would mount."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model

    def rows(self, name: str, count: int, first: int = 0) -> dict[str, str]:
        """Writes rows, and how to find them."""
        rows = [{"prompt": f"question {n}", "completion": f"answer {n * 7 % 10}"} for n in range(first, first + count)]
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        return {"path": str(path), "source": f"configMap://rows/{name}.jsonl"}

    def config(self, run: str, **parts: dict[str, Any]) -> Config:
        """The configuration of one run: its checkpoints and artifacts are its own."""
        training = {
            "epochs": 2,
            "globalBatchSize": 4,
            "microBatchSize": 2,
            "learningRate": 1e-2,
            "fastArithmetic": False,
        }
        given: dict[str, Any] = {
            "model": {"path": str(self.model), "source": "oci://tiny"},
            "dataset": {"train": self.rows("train", 16), "eval": self.rows("eval", 6, 100)},
            "adapter": {"rank": 4, "alpha": 8},
            "training": training | parts.pop("training", {}),
            "checkpoints": {"path": str(self.folder / run / "checkpoints"), "intervalSteps": 3},
            "output": {"path": str(self.folder / run / "artifacts")} | parts.pop("output", {}),
        }
        return Config.model_validate(given | parts)

    def trainer(self, config: Config | None = None, **training: Any) -> Any:
        """The trainer of a pod on CPU, before its first step."""
        config = config or self.config("run", training=training)
        watch = Watch(Path(config.checkpoints.path), 2, StopRequest(), None)
        return build_trainer(config, self.model, load_dataset(config).train, watch)


@pytest.fixture
def job(tmp_path: Path, model: Path) -> Job:
    """A folder of one's own, and the tiny model."""
    return Job(tmp_path, model)

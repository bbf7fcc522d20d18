"""Tokens a second of Hearth's trainer, beside the same TRL script written by hand, in the same run.

    make bench-trainer

Both fit the same LoRA to the same rows with the same hyper-parameters, each in a process of its own, by turns: by hand,
Hearth, Hearth, by hand. The clock runs from the call of `train()` to its return, the last checkpoint included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import ROOT, machine, save, show

ROWS = ROOT / "examples" / "court-records" / "train.jsonl"
HELD_OUT = ROOT / "examples" / "court-records" / "eval.jsonl"
ORDER = ("byHand", "hearth", "hearth", "byHand")
BATCH, LENGTH, RATE, RANK, ALPHA = 4, 512, 1e-3, 16, 32


def by_hand(model: Path, folder: Path, steps: int) -> dict[str, float]:
    """What one writes after reading TRL's documentation."""
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    def as_chat(row: dict[str, str]) -> dict[str, Any]:
        answer = [{"role": "assistant", "content": row["completion"]}]
        return {"prompt": [{"role": "user", "content": row["prompt"]}], "completion": answer}

    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
        args=SFTConfig(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            max_length=LENGTH,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            logging_steps=1,
            save_steps=steps,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=load_dataset("json", data_files=str(ROWS), split="train").map(as_chat),
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    return _timed(trainer)


def hearth(model: Path, folder: Path, steps: int) -> dict[str, float]:
    """The trainer as the image runs it: its own reading of rows, callbacks and checkpoints."""
    from hearth_trainer.callbacks import Watch
    from hearth_trainer.config import Config
    from hearth_trainer.fit import build_trainer
    from hearth_trainer.prepare import load_dataset
    from hearth_trainer.stopping import StopRequest

    training = {"maxSteps": steps, "learningRate": RATE, "globalBatchSize": BATCH, "microBatchSize": BATCH}
    config = Config.model_validate(
        {
            "model": {"path": str(model), "source": "the benchmark's"},
            "dataset": {
                "train": {"path": str(ROWS), "source": "the benchmark's"},
                "eval": {"path": str(HELD_OUT), "source": "the benchmark's"},
            },
            "adapter": {"rank": RANK, "alpha": ALPHA},
            "training": training | {"maxSequenceLength": LENGTH, "warmupRatio": 0.0},
            "checkpoints": {"path": str(folder), "intervalSteps": steps},
            "output": {"path": str(folder / "artifacts")},
        }
    )
    rows = load_dataset(config).train
    return _timed(build_trainer(config, model, rows, Watch(folder, 2, StopRequest(), None)))


def _timed(trainer: Any) -> dict[str, float]:
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    tokens = max(entry.get("num_tokens", 0) for entry in trainer.state.log_history)
    return {"tokens": tokens, "seconds": seconds, "tokensPerSecond": tokens / seconds}


def measure(model: Path, steps: int) -> list[dict[str, Any]]:
    """Every run in its order."""
    runs = []
    for side in ORDER:
        command = [sys.executable, __file__, "--side", side, "--model", str(model), "--steps", str(steps)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | _QUIET)
        runs.append({"side": side, **json.loads(done.stdout.splitlines()[-1])})
        print(f"{side}: {runs[-1]['tokensPerSecond']:.1f} tokens/s")
    return runs


_QUIET = {
    "DISABLE_KUBEFLOW_INTEGRATION": "TRUE",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
    "TRANSFORMERS_VERBOSITY": "error",
}


def print_table(runs: list[dict[str, Any]], steps: int) -> float:
    """Every run, and the ratio of the means; returned too."""
    means = {side: statistics.mean(r["tokensPerSecond"] for r in runs if r["side"] == side) for side in set(ORDER)}
    ratio = means["hearth"] / means["byHand"]
    rows = [
        (f"{n}. {r['side']}", f"{r['tokensPerSecond']:.1f}", f"{r['tokens']:.0f}", f"{r['seconds']:.1f}")
        for n, r in enumerate(runs, 1)
    ]
    title = f"LoRA, {steps} steps of {BATCH} rows on CPU: Hearth at {ratio:.3f} of the speed by hand"
    show(title, ("run", "tokens/s", "tokens", "s"), rows)
    return ratio


def main() -> None:
    """Reads the command line and runs one side, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a causal language model; default: one is made")
    parser.add_argument("--steps", type=int, default=12, help="steps of each run (default: %(default)s)")
    parser.add_argument("--side", choices=sorted(set(ORDER)), help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as scratch:
        folder = Path(scratch)
        if options.side:
            run = by_hand if options.side == "byHand" else hearth
            print(json.dumps(run(options.model, folder, options.steps)))
            return
        about, model = machine(), options.model
        if model is None:
            from made_model import make

            model = make(folder / "model")
        runs = measure(model, options.steps)
    ratio = print_table(runs, options.steps)
    shape = "given" if options.model else "the shape of SmolLM2-135M with random weights"
    save("trainer", {"machine": about, "model": shape, "steps": options.steps, "runs": runs, "ratio": ratio})


if __name__ == "__main__":
    main()

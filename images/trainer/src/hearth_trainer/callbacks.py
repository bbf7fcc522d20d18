"""What happens between two steps of training."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from hearth_trainer import checkpoints, randomness
from hearth_trainer.errors import BadConfigError
from hearth_trainer.progress import Reporter
from hearth_trainer.stopping import StopRequest

log = logging.getLogger(__name__)


class Watch(TrainerCallback):  # type: ignore[misc]
    """Stops on request after a checkpoint, seals checkpoints, tells progress, and ends a run whose loss is no number.

    Loss, speed and the like come from the trainer's own log entries.
    """

    def __init__(self, root: Path, keep: int, stop: StopRequest, reporter: Reporter | None) -> None:
        self.root, self.keep, self.stop, self.reporter = root, keep, stop, reporter
        self.losses: list[float] = []
        self.tokens = 0.0
        self.begun = time.monotonic()
        self.first_step = 0
        self.sealed_step: int | None = None
        self.dice: Any = None
        """States of the random generators after the newest full step."""

    @property
    def seconds(self) -> float:
        """Time since training began, in this process."""
        return time.monotonic() - self.begun

    @property
    def tokens_per_second(self) -> float:
        """Tokens trained on per second, padding not counted, in this process."""
        return self.tokens / max(self.seconds, 1e-9)

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Starts the clock."""
        self.begun, self.first_step = time.monotonic(), state.global_step
        self.dice = randomness.states()
        self._tell(state)

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Serves a request to stop: save, then end."""
        self.dice = randomness.states()
        if self.stop.requested:
            log.info("asked to stop: saving after step %d", state.global_step)
            control.should_save = control.should_training_stop = True
        return control

    def on_substep_end(self, _args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Serves a request to stop between two passes of one step, which may take minutes on CPU.

        The step that was begun is made again from its beginning by whoever resumes. Its gradients are in no optimizer
        state yet, so the newest full step is what a checkpoint holds; where there is one of it already, none is made.
        What dropout has drawn since then is given back.
        """
        if self.stop.requested:
            randomness.restore(self.dice)
            known = self.sealed_step if self.sealed_step is not None else self.first_step
            control.should_save = state.global_step != known
            control.should_training_stop = True
            log.info("asked to stop within step %d", state.global_step + 1)
        return control

    def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Marks the checkpoint complete and removes the oldest."""
        checkpoints.seal(self.root / f"{checkpoints.PREFIX}{state.global_step}")
        checkpoints.prune(self.root, self.keep)
        self.sealed_step = state.global_step
        log.info("checkpoint after step %d is complete", state.global_step)
        self._tell(state)

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Takes loss and tokens from the trainer's log."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise BadConfigError(
                "LossDiverged",
                f"the loss became {loss} at step {state.global_step}",
                "lower spec.training.learningRate, or look for broken rows",
            )
        self.losses.append(loss)
        self.tokens = float(logs.get("num_tokens", self.tokens))
        log.info(
            "step %d of %d, loss %.4f, %.0f tokens/s", state.global_step, state.max_steps, loss, self.tokens_per_second
        )
        self._tell(state)

    def _tell(self, state: Any) -> None:
        if self.reporter is None:
            return
        done = state.global_step - self.first_step
        left = (state.max_steps - state.global_step) * self.seconds / done if done else None
        figures: dict[str, float | int | str] = {"step": state.global_step, "total_steps": state.max_steps}
        if state.epoch is not None:
            figures["epoch"] = f"{state.epoch:.2f}"
        if self.losses:
            figures["loss"] = f"{self.losses[-1]:.4f}"
            figures["tokens_per_second"] = f"{self.tokens_per_second:.1f}"
        if self.sealed_step is not None:
            figures["checkpoint_step"] = self.sealed_step
        percentage = 100 * state.global_step // max(state.max_steps, 1)
        self.reporter.tell(percentage, None if left is None else int(left), figures)

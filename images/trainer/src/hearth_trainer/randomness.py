"""The random generators that training draws from: those that a checkpoint of transformers holds."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def states() -> tuple[Any, ...]:
    """Where each generator is."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), gpus


def restore(known: tuple[Any, ...]) -> None:
    """Puts each generator back to where it was."""
    python, numpy, cpu, gpus = known
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if gpus:
        torch.cuda.set_rng_state_all(gpus)

"""Write down what vLLM wants to know of every model class it has, so that no pod has to find it out when it starts.

vLLM imports itself and the model's class in a process of its own, only to ask what the class can do, and keeps the
answer in VLLM_CACHE_ROOT. A pod's cache is empty: each start would pay for that process again, 8.5 s of processor time.

Usage: VLLM_CACHE_ROOT=FOLDER python known_models.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from vllm import envs
from vllm.model_executor.models import ModelRegistry, registry

WANTED = {"LlamaForCausalLM", "BertModel"}
"""Without the models that this project ships, the cache is not worth having."""


def write_down() -> set[str]:
    """The architectures that were written down. A class that needs a package of other machines is left out."""
    registry._run_in_subprocess = lambda ask: ask()  # noqa: SLF001 - no GPU is here that must not be touched
    known = set()
    for name, model in ModelRegistry.models.items():
        try:
            model.inspect_model_cls()
        except Exception as error:  # noqa: BLE001 - whatever a class asks for and does not find
            print(f"{name}: {type(error).__name__}: {error}")
        else:
            known.add(name)
    return known


if __name__ == "__main__":
    found = write_down()
    print(f"{len(found)} architectures, {len(list(Path(envs.VLLM_CACHE_ROOT).rglob('*.json')))} files")
    sys.exit(f"missing: {WANTED - found}" if WANTED - found else 0)

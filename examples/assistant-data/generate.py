"""Mixes court records and passage rows, so that one adapter learns both skills.

    python examples/assistant-data/generate.py [--seed 3] [--out FOLDER]

Reads `train.jsonl` and `eval.jsonl` of ../court-records and ../raft and writes files of the same names in chat format.
Both files together stay under the 1 MiB that a ConfigMap may hold.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent
TRAIN = {"court-records": 60, "raft": 100}
"""Rows taken of each, from the beginning of its file."""
HELD_OUT = {"court-records": 32, "raft": 16}


def chat(row: dict[str, Any]) -> dict[str, Any]:
    """A row in chat format; prompt and completion become two turns."""
    if "messages" in row:
        return row
    said = (("user", row["prompt"]), ("assistant", row["completion"]))
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def mixed(seed: int, name: str, counts: dict[str, int]) -> str:
    """JSON Lines with the first rows of each example, shuffled."""
    rows = []
    for example, count in counts.items():
        lines = (EXAMPLES / example / name).read_text(encoding="utf-8").splitlines()[:count]
        rows += [chat(json.loads(line)) for line in lines]
    random.Random(seed).shuffle(rows)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    """Writes train.jsonl and eval.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    for name, counts in (("train.jsonl", TRAIN), ("eval.jsonl", HELD_OUT)):
        (args.out / name).write_text(mixed(args.seed, name, counts), encoding="utf-8")


if __name__ == "__main__":
    main()

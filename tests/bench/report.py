"""What every benchmark says beside its figures, and where the figures go."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "benchmarks"

console = Console()


def machine() -> dict[str, Any]:
    """The machine and how busy it is now: a figure means nothing without."""
    processors = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "processor": processors[0] if processors else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memoryGiB": round(int(memory) / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "loadAverage": [round(load, 1) for load in os.getloadavg()],
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def save(name: str, result: dict[str, Any]) -> Path:
    """Writes one benchmark's result as JSON; the load average at the end shows who else was at work."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    result["machine"]["loadAverageAtEnd"] = [round(load, 1) for load in os.getloadavg()]
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"written to {path.relative_to(ROOT)}")
    return path


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> None:
    """Prints a table: the first column names, the others are figures."""
    table = Table(title=title, title_justify="left", caption=note, caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of the values do not exceed, interpolated."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]

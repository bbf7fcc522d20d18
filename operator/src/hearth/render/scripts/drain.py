"""Holds back the end of an engine pod until the requests that it has are finished.

Usage: drain.py SETTLE_SECONDS DEADLINE_SECONDS [PORT]. Runs as preStop hook: the kubelet sends SIGTERM only when it is
done, and vLLM drops what is in flight on SIGTERM. First it waits for proxies to stop sending new requests, then until
the engine reports none running and none waiting, twice in a row, or the deadline passes.
Always exits 0: there is nothing that a failed hook could mend. Runs with Python's standard library alone.
"""

from __future__ import annotations

import re
import sys
import time
import urllib.request

IN_FLIGHT = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)
POLL_SECONDS = 0.5


def in_flight(port: int) -> float | None:
    """Requests running and waiting, or None where the engine does not say (it is gone, or hangs)."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
            found = IN_FLIGHT.findall(response.read().decode())
    except OSError:
        return None
    return sum(float(value) for value in found) if found else None


def main(arguments: list[str]) -> int:
    """Waits."""
    settle, deadline = (float(a) for a in arguments[:2])
    port = int(arguments[2]) if len(arguments) > 2 else 8000
    end = time.monotonic() + settle + deadline
    time.sleep(settle)
    quiet, silent = 0, 0
    while time.monotonic() < end and quiet < 2 and silent < 6:
        busy = in_flight(port)
        silent = silent + 1 if busy is None else 0
        quiet = quiet + 1 if busy == 0 else 0
        time.sleep(POLL_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m hearth_indexer`: reads HEARTH_CONFIG, runs, leaves the outcome in the termination message."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hearth_indexer.outcome import IndexingError, InterruptedRunError, write
from hearth_indexer.progress import Progress
from hearth_indexer.run import run
from hearth_indexer.settings import read

log = logging.getLogger("hearth_indexer")


def main() -> int:
    """The process's exit status: see hearth_indexer.outcome."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, _interrupted)
    outcome = Path(os.environ.get("HEARTH_TERMINATION_LOG", "/dev/termination-log"))
    try:
        result = run(read(Path(os.environ.get("HEARTH_CONFIG", "/etc/hearth/config.json"))), Progress())
    except IndexingError as error:
        log.error("%s: %s", error.failure_class, error.message)
        write(outcome, {"error": error.as_json()})
        return error.exit_code
    log.info("done: %s", result)
    write(outcome, {"result": result})
    return 0


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    raise InterruptedRunError("asked to stop; the next run goes on from here")


def leave(code: int) -> NoReturn:
    """Ends the process at once, whatever its threads wait for: the kubelet kills it half a minute after asking."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())

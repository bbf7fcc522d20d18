"""The container's command: `python -m hearth_trainer prepare|train`, as process 1 of its pod."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

from hearth_trainer.config import load_config
from hearth_trainer.errors import TrainerError
from hearth_trainer.stopping import StopRequest
from hearth_trainer.termination import write_error, write_result

log = logging.getLogger("hearth_trainer")


def run(command: str) -> dict[str, Any]:
    """Carries the command out. Training is imported only for `train`: linting needs no torch."""
    stop = StopRequest()
    stop.install()
    config = load_config()
    if command == "prepare":
        from hearth_trainer.prepare import prepare

        return prepare(config)
    from hearth_trainer.train import train

    return train(config, stop)


def main(arguments: list[str] | None = None) -> int:
    """Exit code by the table of `hearth_trainer.errors`; 0 with a result in the termination log."""
    parser = argparse.ArgumentParser(prog="hearth_trainer", description=__doc__)
    parser.add_argument("command", choices=("prepare", "train"))
    command = parser.parse_args(arguments).command
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    try:
        result = run(command)
    except TrainerError as error:
        log.error("%s: %s %s", error.kind, error.message, error.suggestion)
        write_error(error)
        return error.exit_code
    write_result(result)
    log.info("%s done: %s", command, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())

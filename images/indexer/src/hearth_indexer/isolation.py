"""Runs one call in a process of its own, with a time and a memory limit.

Parsers of complex formats can loop or eat memory on hostile or damaged files; a limit turns that into a skipped file.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hearth_indexer.documents import UnreadableError


def in_own_process(call: Callable[..., Any], arguments: tuple[Any, ...], seconds: float, memory: int) -> Any:
    """What the call returns.

    `memory` is in bytes of address space, on top of what the process has already mapped.

    Raises UnreadableError where the call raises anything, runs past `seconds`, past `memory`, or dies.
    """
    # A fork costs a millisecond where a fresh interpreter costs half a second; nothing has started a thread yet.
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(sending, call, arguments, memory), daemon=True)
    child.start()
    sending.close()
    try:
        if not receiving.poll(seconds):
            raise UnreadableError(f"takes longer than {seconds:.0f} s to read")
        ok, value = receiving.recv()
    except EOFError as error:
        raise UnreadableError("ends the process that reads it") from error
    finally:
        child.kill()
        child.join()
        receiving.close()
    if not ok:
        raise UnreadableError(value)
    return value


def _run(sending: Connection, call: Callable[..., Any], arguments: tuple[Any, ...], memory: int) -> None:
    mapped = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    limit = mapped + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        outcome: tuple[bool, Any] = (True, call(*arguments))
    except UnreadableError as error:
        outcome = (False, str(error))
    except RecursionError:
        outcome = (False, "is nested too deeply")
    except MemoryError:
        outcome = (False, f"needs more than {memory // 2**20} MiB to read")
    except Exception as error:  # noqa: BLE001 - parsers raise anything on damaged files, and the others are read
        outcome = (False, f"is not readable: {type(error).__name__}: {error}")
    sending.send(outcome)
    sending.close()

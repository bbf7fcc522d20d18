"""Processes that outlive the command which started them, known by pid and start time.

A pid alone names nothing: it may belong to someone else by the time it is used. A pid with the kernel's start time
and the boot id names one process for good, so nothing but a process of our own is ever signalled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from hearth_cluster.errors import ClusterError

Command: TypeAlias = list[str | Path]

STOP_SECONDS = 10.0
"""How long a process may take after SIGTERM before it is killed."""


def boot_id() -> str:
    """The kernel's identity of this boot: start times count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of the process, or None if there is none, or it is dead but not buried."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def parse_stat(stat: str) -> int | None:
    """The start time in the text of /proc/PID/stat (proc(5)), or None for a dead process.

    The first thread of a killed process is a zombie while its other threads still hold sockets and locks: such a
    process is not dead yet.
    """
    # The command in parentheses may hold spaces and parentheses itself: what follows the last one is field 3 on.
    fields = stat.rpartition(")")[2].split()
    state, threads, start = fields[0], int(fields[17]), int(fields[19])
    return None if state in "ZX" and threads <= 1 else start


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, for good."""

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The identity of a running process, or None if there is none."""
        start = start_time(pid)
        return None if start is None else cls(pid, start, boot_id())

    def alive(self) -> bool:
        """Whether that very process still runs."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # our own child would stay a zombie until somebody asks for it
        return self.boot == boot_id() and start_time(self.pid) == self.start

    def send(self, number: signal.Signals) -> None:
        """Signals the process if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def find(argv: Sequence[str]) -> ProcessIdentity | None:
    """The process that runs this command, or the command that this one becomes (`nsenter … kubelet …`).

    A component's arguments name files of its own state folder: no other cluster's process has the same.
    """
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if len(words) > 1 and list(argv[-len(words) :]) == words:
            return ProcessIdentity.of(int(folder.name))
    return None


@dataclass(frozen=True)
class Component:
    """A program that a cluster keeps running."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] | None = None
    files: tuple[Path, ...] = ()
    """Configuration it reads when it starts: a change of these means a new start."""

    def fingerprint(self) -> str:
        """Changes with the command line and with what the configuration files hold."""
        digest = hashlib.sha256("\0".join(self.argv).encode())
        for path in self.files:
            digest.update(path.read_bytes())
        return digest.hexdigest()


class Supervisor:
    """Starts and stops the components of one state folder; each has a record in `run/` and a log in `logs/`."""

    def __init__(self, state: Path) -> None:
        self._run = state / "run"
        self._logs = state / "logs"

    def log(self, name: str) -> Path:
        """Where the component's output goes."""
        return self._logs / f"{name}.log"

    def identity(self, name: str) -> ProcessIdentity | None:
        """The recorded process of a component, running or not."""
        record = self._read(name)
        if record is None:
            return None
        if "pid" not in record:
            return find(record["argv"])  # whoever started it was killed before it could note the pid
        return ProcessIdentity(record["pid"], record["start"], record["boot"])

    def running(self, name: str) -> bool:
        """Whether the component's process is alive."""
        identity = self.identity(name)
        return identity is not None and identity.alive()

    def names(self) -> list[str]:
        """Every component that was started and not stopped, oldest first."""
        records = sorted(self._run.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [record.stem for record in records]

    def started(self, name: str) -> float | None:
        """When the component was started, in seconds since the epoch; None if it wasn't."""
        try:
            return (self._run / f"{name}.json").stat().st_mtime
        except FileNotFoundError:
            return None

    def ensure(self, component: Component) -> bool:
        """Makes the component run with exactly this command line and configuration. True if it had to be started."""
        record = self._read(component.name)
        if record is not None and self.running(component.name):
            if record["fingerprint"] == component.fingerprint():
                return False
            self.stop([component.name])
        self._start(component)
        return True

    def _start(self, component: Component) -> None:
        self._run.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        intent = {"argv": [str(word) for word in component.argv], "fingerprint": component.fingerprint()}
        self._write(component.name, intent)
        with self.log(component.name).open("ab") as log:
            process = subprocess.Popen(
                component.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
                env={**without_proxies(), **(component.environment or {})},
            )
        identity = ProcessIdentity.of(process.pid)
        # The supervisor waits for its children through ProcessIdentity.alive, not through this object.
        process.returncode = 0
        if identity is None:
            raise ClusterError(f"{component.name} ended at once:\n{self.tail(component.name)}")
        self._write(component.name, {**asdict(identity), **intent})

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        path = self._run / f"{name}.json"
        path.with_suffix(".tmp").write_text(json.dumps(record))
        path.with_suffix(".tmp").rename(path)

    def stop(self, names: Iterable[str], seconds: float = STOP_SECONDS) -> None:
        """Ends the named components together: SIGTERM, then SIGKILL after `seconds`. Unknown names are ignored."""
        ending = {name: identity for name in names if (identity := self.identity(name)) is not None}
        for identity in ending.values():
            identity.send(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(identity.alive() for identity in ending.values()):
            time.sleep(0.05)
        for name, identity in ending.items():
            identity.send(signal.SIGKILL)
            while identity.alive():
                time.sleep(0.02)
            (self._run / f"{name}.json").unlink(missing_ok=True)

    def tail(self, name: str, lines: int = 12) -> str:
        """The last lines of a component's log."""
        try:
            text = self.log(name).read_text(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def require(self, name: str) -> None:
        """Raises ClusterError with the log's last lines if the component has ended."""
        if not self.running(name):
            raise ClusterError(f"{name} ended; the last lines of {self.log(name)}:\n{self.tail(name)}")

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            record = json.loads((self._run / f"{name}.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        assert isinstance(record, dict)
        return record


def without_proxies() -> dict[str, str]:
    """The environment without its proxy settings: a proxy does not know the way to this machine's clusters."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def past_proxies(environment: Mapping[str, str], *addresses: str) -> str:
    """The value of NO_PROXY and no_proxy that adds addresses to what either says: programs read one or the other."""
    found = [entry.strip() for name in ("NO_PROXY", "no_proxy") for entry in environment.get(name, "").split(",")]
    return ",".join(dict.fromkeys(entry for entry in [*found, *addresses] if entry))


def search_path() -> str:
    """The PATH and sbin, where losetup, sysctl, iptables and mkfs are: a user's lacks it, and root's by `su` too."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def run_checked(
    argv: Sequence[str | Path], *, stdin: str | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Runs a command to its end and returns its output.

    Raises:
        ClusterError: it failed; the message carries the command and what it printed.
    """
    done = subprocess.run(
        [str(word) for word in argv],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": search_path(), **(environment or {})},
    )
    if done.returncode != 0:
        command = " ".join(Path(str(word)).name if index == 0 else str(word) for index, word in enumerate(argv))
        raise ClusterError(f"`{command}` failed ({done.returncode}): {(done.stderr or done.stdout).strip()}")
    return done.stdout

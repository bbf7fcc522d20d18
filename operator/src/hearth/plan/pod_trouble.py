"""What is wrong with a pod, read from its status alone, in one sentence for the people who can mend it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hearth.api.base import Json

PULL_REASONS = {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_MISSING_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_ERROR_LINE = re.compile(r"\berror\b|exception|refused|invalid|not found|unrecognized", re.IGNORECASE)
_LOG_PREFIX = re.compile(r"^(\(\w+ pid=\d+\) )?((ERROR|WARNING|INFO) [0-9-]+ [0-9:]+ (\[[^\]]+\] )?)?")
_SHOWN = 600
_LONGEST_WORD = 58
"""With Failed or Killed behind it, it is as long as a reason may be."""
KILLED = 137
"""Exit code of a process that SIGKILL ended (128 + 9), whoever sent it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not run. `lasting`: it will not get better unless somebody changes something."""

    reason: str
    message: str
    lasting: bool


def trouble(pods: Sequence[Json]) -> Trouble | None:
    """The first trouble among the pods that are not on their way out, the newest pod first."""
    alive = [p for p in pods if "deletionTimestamp" not in p["metadata"]]
    for pod in sorted(alive, key=_born, reverse=True):
        found = _of_pod(pod)
        if found is not None:
            return found
    return None


def unschedulable(pods: Sequence[Json]) -> str | None:
    """The scheduler's own words about a pod that it cannot place."""
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions", []):
            waiting = condition["type"] == "PodScheduled" and condition["status"] == "False"
            if waiting and "deletionTimestamp" not in pod["metadata"]:
                return str(condition.get("message", "")) or "the scheduler found no node"
    return None


def result_of(pod: Json, container: str) -> Json | None:
    """The JSON that a container left in its termination message, or None where it left none."""
    statuses = pod.get("status", {})
    for status in [*statuses.get("initContainerStatuses", []), *statuses.get("containerStatuses", [])]:
        ended = status.get("state", {}).get("terminated")
        if status["name"] == container and ended:
            return _decoded(ended.get("message", ""))
    return None


def last_error_line(log: str) -> str:
    """The line of a log's end that says what went wrong, without time stamps and process names.

    A traceback ends with its exception and argparse with its complaint, so the last line that speaks of an error is
    the one; where none does, the last line that is not empty.
    """
    lines = [_LOG_PREFIX.sub("", line.strip()) for line in log.splitlines() if line.strip()]
    if not lines:
        return ""
    spoken = [line for line in lines if _ERROR_LINE.search(line) and not line.startswith(("File ", "raise ", "^"))]
    return (spoken or lines)[-1][:_SHOWN]


def _born(pod: Json) -> str:
    return str(pod["metadata"].get("creationTimestamp", ""))


def _of_pod(pod: Json) -> Trouble | None:
    message = unschedulable([pod])
    if message is not None:
        claim = _MISSING_CLAIM.search(message)
        if claim:
            name = claim.group(1)
            return Trouble("VolumeMissing", f"PersistentVolumeClaim {name} does not exist: create it", lasting=True)
        return Trouble("Unschedulable", message, lasting=False)
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        found = _of_container(container)
        if found is not None:
            return found
    return None


def _of_container(container: Json) -> Trouble | None:
    waiting = container.get("state", {}).get("waiting", {})
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    if reason in PULL_REASONS:
        return Trouble("ImagePullFailed", f"image {container.get('image', '?')} cannot be pulled: {said}", lasting=True)
    if reason in CONFIG_REASONS:
        return Trouble("ContainerNotStarted", f"container {container['name']}: {said}", lasting=True)
    state = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
    if container.get("ready") or not state or state.get("exitCode") == 0:
        return None
    return _of_end(container["name"], state)


def _of_end(name: str, ended: Json) -> Trouble:
    code, text = ended.get("exitCode"), ended.get("message", "")
    if ended.get("reason") == "OOMKilled":
        return Trouble("OOMKilled", f"container {name} was ended for using more memory than its limit", lasting=True)
    error = (_decoded(text) or {}).get("error")
    if isinstance(error, dict) and "class" in error and "message" in error:
        return Trouble(str(error["class"]), str(error["message"]), lasting=code not in (69, 75))
    line = last_error_line(text)
    if code == KILLED:
        told = (
            f"container {name} was killed (exit code {KILLED}) and not for its memory limit: by a failed probe, at the "
            "end of its grace period, or by a node that ran out of memory"
        )
        return Trouble(f"{_word(name)}Killed", told + (f"; its log ends with: {line}" if line else ""), lasting=True)
    if code == 2 and "error:" in line:
        complaint = line.split("error:", 1)[1].strip()
        return Trouble("EngineArgumentRejected", f"the engine rejects an argument: {complaint}", lasting=True)
    said = f": {line}" if line else f" ({ended.get('reason', 'Error')})"
    return Trouble(f"{_word(name)}Failed", f"container {name} ended with exit code {code}{said}", lasting=True)


def _word(container: str) -> str:
    """The container's name as the first part of a reason: admission webhooks give pods containers of any name."""
    word = "".join(part.capitalize() for part in container.split("-"))
    return (word if word[:1].isalpha() else f"Container{word}")[:_LONGEST_WORD]


def _decoded(text: str) -> Json | None:
    try:
        decoded = json.loads(text)
    except ValueError:
        return None
    return decoded if isinstance(decoded, dict) else None

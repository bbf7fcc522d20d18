"""What can go wrong, as things that a user or the operator can do something about."""

from __future__ import annotations


class TrainerError(Exception):
    """An outcome with an exit code, a class that programs compare, a message and what to do next."""

    exit_code = 64

    def __init__(self, kind: str, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.suggestion = kind, message, suggestion


class BadConfigError(TrainerError):
    """The configuration cannot be carried out; another try changes nothing."""


class BadDataError(TrainerError):
    """The rows cannot be learnt from; another try changes nothing."""

    exit_code = 65


class ModelError(TrainerError):
    """The model is missing or cannot be read; another try changes nothing."""

    exit_code = 66


class UnavailableError(TrainerError):
    """Something outside cannot be reached; another try may succeed."""

    exit_code = 69


class DiskFullError(TrainerError):
    """The volume has no room left; what was complete before still is."""

    exit_code = 73


class InterruptedRunError(TrainerError):
    """The pod was asked to stop; a checkpoint is on the volume and nothing was published."""

    exit_code = 75


class OutOfMemoryError(TrainerError):
    """The allocator gave up; the code is that of a process killed for memory."""

    exit_code = 137

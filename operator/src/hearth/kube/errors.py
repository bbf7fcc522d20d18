"""What the API server answers when it says no: one type per thing that a caller can do about it."""

from __future__ import annotations

import json
from typing import Any

from hearth.api.base import Json


class ApiError(Exception):
    """A request that was answered with an error. `code` is the HTTP status, `reason` the word of metav1.Status."""

    def __init__(self, code: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message or f"HTTP {code}")
        self.code = code
        self.reason = reason
        self.message = message or f"HTTP {code}"
        self.retry_after = retry_after
        """Seconds to wait before the next try, if the server named them."""


class NotFoundError(ApiError):
    """The object, or its kind, does not exist."""


class ConflictError(ApiError):
    """A precondition (uid, resourceVersion, must-not-exist) does not hold: look again."""


class GoneError(ApiError):
    """The resourceVersion is too old: list again."""


class InvalidError(ApiError):
    """The object breaks a rule of its kind: only a different object will do."""


class ForbiddenError(ApiError):
    """The account has no right, or a quota or an admission policy says no."""


class UnauthorizedError(ApiError):
    """The credentials are not accepted: read them again."""


class ConnectionFailedError(Exception):
    """The API server could not be reached after all tries."""


_BY_CODE: dict[int, type[ApiError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: InvalidError,
}


def from_status(status: Json, code: int = 0, retry_after: float | None = None) -> ApiError:
    """The error that a metav1.Status stands for."""
    code = int(status.get("code") or code)
    kind = _BY_CODE.get(code, ApiError)
    return kind(code, str(status.get("reason", "")), str(status.get("message", "")), retry_after)


def from_response(code: int, body: bytes, retry_after: float | None = None) -> ApiError:
    """The error of an HTTP answer, whose body is mostly, but not always, a metav1.Status."""
    try:
        decoded: Any = json.loads(body)
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict) or decoded.get("kind") != "Status":
        decoded = {"message": body[:500].decode("utf-8", "replace").strip()}
    return from_status(decoded, code, retry_after)

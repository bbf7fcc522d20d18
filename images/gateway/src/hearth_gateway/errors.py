"""Errors in the shape of the OpenAI API, which its clients turn into exceptions with a readable message."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse


class ApiError(Exception):
    """An answer other than success. `status` is the HTTP status; `code` is for programs."""

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message
        self.code, self.param, self.retry_after = code, param, retry_after

    def body(self) -> dict[str, Any]:
        """{"error": {...}} as OpenAI writes it."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self, headers: dict[str, str]) -> JSONResponse:
        """The HTTP response."""
        more = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        challenge = {"www-authenticate": "Bearer"} if self.status == 401 else {}
        return JSONResponse(self.body(), self.status, {**headers, **more, **challenge})


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """The request cannot be served as it is."""
    return ApiError(400, "invalid_request_error", message, param=param, code=code)


def unauthorized(message: str) -> ApiError:
    """No key, or a wrong one."""
    return ApiError(401, "invalid_request_error", message, code="invalid_api_key")


def overloaded(message: str, retry_after: int) -> ApiError:
    """Too many requests at once: worth another try."""
    return ApiError(429, "rate_limit_error", message, code="overloaded", retry_after=retry_after)


def too_large(message: str) -> ApiError:
    """More than the gateway takes in one request."""
    return ApiError(413, "invalid_request_error", message, code="request_too_large")


def unavailable(message: str) -> ApiError:
    """Something behind the gateway does not answer: worth another try."""
    return ApiError(503, "server_error", message, code="unavailable", retry_after=2)


def engine_lost(message: str) -> ApiError:
    """The engine went away while it answered."""
    return ApiError(502, "server_error", message, code="upstream_lost")


def gone() -> ApiError:
    """The client hung up. Nobody reads it; it is what the metrics count (499, as nginx has it)."""
    return ApiError(499, "invalid_request_error", "the client went away", code="client_closed_request")


def timed_out(seconds: float) -> ApiError:
    """The request took longer than the service allows."""
    return ApiError(504, "server_error", f"the request took longer than {seconds:g} s", code="timeout")

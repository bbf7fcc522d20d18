"""What the service sets in a request before the engine sees it: model, sampling defaults and locks, system message."""

from __future__ import annotations

from typing import Any

from hearth_gateway.config import Config, Sampling
from hearth_gateway.errors import ApiError, bad_request

Body = dict[str, Any]
ALIASES = {"max_tokens": ("max_tokens", "max_completion_tokens")}


def check_model(config: Config, body: Body) -> None:
    """The request's model is the served one; a request without one gets it. Raises ApiError (404).

    Behind an @ stands the digest of the model that is wanted, which only the engine knows. Before it may stand the
    resource's own name, by which an index asks its embedder whatever that is served as.
    """
    if body.get("model") is None:
        body["model"] = config.served_name
    asked = body["model"]
    names = (config.served_name, config.service.rpartition("/")[2])
    pinned = isinstance(asked, str) and asked.startswith(tuple(f"{name}@" for name in names))
    if asked != config.served_name and not pinned:
        raise ApiError(
            404,
            "invalid_request_error",
            f"the model {asked!r} does not exist; this service serves {config.served_name!r}",
            code="model_not_found",
            param="model",
        )


def for_engine(body: Body) -> Body:
    """The request as an engine pod gets it: without a model, which every pod then takes for its own.

    Pods of before and after a change of the name answer side by side while it rolls out, and each knows only one. A
    digest behind an @ stays: it asks for one model, and for an error from pods that serve another.
    """
    return {name: value for name, value in body.items() if name != "model" or "@" in str(value)}


def apply_sampling(sampling: Sampling, body: Body) -> None:
    """Fills in defaults, and refuses other values of locked parameters. Raises ApiError (400)."""
    for name, value in sampling.defaults.items():
        spellings = ALIASES.get(name, (name,))
        given = [s for s in spellings if body.get(s) is not None]
        if not given:
            body[name] = value
        elif name in sampling.locked:
            for spelling in given:
                if body[spelling] != value:
                    message = f"{spelling} is fixed to {value!r} by this service: leave it out"
                    raise bad_request(message, param=spelling, code="parameter_locked")


def add_system_prompt(prompt: str | None, body: Body) -> None:
    """Puts the service's system message before a chat that brings none."""
    messages = body.get("messages")
    if prompt is None or not isinstance(messages, list):
        return
    if not any(isinstance(m, dict) and m.get("role") in ("system", "developer") for m in messages):
        body["messages"] = [{"role": "system", "content": prompt}, *messages]


def check_messages(body: Body) -> list[Body]:
    """The chat's messages. Raises ApiError (400) where they are no list of objects with a role, and text as strings."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad_request("messages must be a list with at least one message", param="messages")
    if not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages):
        raise bad_request("every message must be an object with a role and content", param="messages")
    parts = [p for m in messages if isinstance(m.get("content"), list) for p in m["content"] if is_text(p)]
    if not all(isinstance(p.get("text"), str) for p in parts):
        raise bad_request("the text of a message's part must be a string", param="messages")
    return messages


def has_form(body: Body) -> bool:
    """Whether a request gives its answer a form, such as JSON, that a change could break."""
    form = body.get("response_format")
    free = form is None or (isinstance(form, dict) and form.get("type") == "text")
    return not free or body.get("structured_outputs") is not None


def is_text(part: Any) -> bool:
    """Whether a part of a message is text."""
    return isinstance(part, dict) and part.get("type") == "text"


def wants_rag(body: Body) -> bool:
    """Whether a request to a service with an index wants an answer from it: unless it says `"hearth": {"rag": false}`.

    Raises ApiError (400) where `hearth` is something else.
    """
    options = body.get("hearth", {})
    if not isinstance(options, dict) or not set(options) <= {"rag"} or not isinstance(options.get("rag", True), bool):
        raise bad_request('hearth must be {"rag": true} or {"rag": false}', param="hearth")
    wanted: bool = options.get("rag", True)
    return wanted

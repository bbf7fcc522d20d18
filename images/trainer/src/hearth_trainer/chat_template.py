"""A model's chat template, rendered as transformers renders it, without transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hearth_trainer.errors import ModelError

Render = Callable[[list[dict[str, str]], bool], str]
"""Conversation, and whether the assistant's turn is opened at its end, to text.

Raises TemplateError where the template refuses the conversation.
"""

FAILED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What Python says of an expression of a template that cannot be worked out."""


def load_chat_template(folder: Path, config: dict[str, Any], special: dict[str, str]) -> Render | None:
    """The chat template in a model's folder, or in its tokenizer's configuration; None where there is neither.

    `special`: the special tokens by name, as templates know them.

    Raises ModelError where it is no template that transformers could read.
    """
    source = _source(folder, config)
    if not source:
        return None
    try:
        template = _environment().from_string(source)
    except TemplateSyntaxError as error:
        raise ModelError(
            "ModelUnreadable",
            f"the model's chat template is broken at line {error.lineno}: {error.message}",
            "mend its chat_template, or use another model",
        ) from error

    def render(messages: list[dict[str, str]], opened: bool) -> str:
        try:
            return template.render(messages=messages, add_generation_prompt=opened, tools=None, **special)
        except FAILED as error:
            raise TemplateError(f"{type(error).__name__}: {error}") from error

    return render


def _source(folder: Path, config: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    source = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
    if isinstance(source, list):
        return next((t["template"] for t in source if t["name"] == "default"), None)
    return source


class Generation(Extension):
    """`{% generation %}` around what the assistant says, by which transformers tells its tokens apart.

    Here only what is inside matters. As there, a name that is set inside is not known outside.
    """

    tags = {"generation"}  # noqa: RUF012 - as jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """What is inside, in a scope of its own."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def _environment() -> ImmutableSandboxedEnvironment:
    """The environment of transformers' chat templates (utils/chat_template_utils.py)."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _as_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}  # noqa: DTZ005 - as upstream
    return environment


def _as_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes what is special in HTML and sorts keys."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise TemplateError(message)

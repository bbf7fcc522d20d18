"""Counts tokens exactly as training will, without loading a model or torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from hearth_trainer.errors import BadConfigError, ModelError
from hearth_trainer.rows import Row


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens of a row."""

    total: int
    target: int


@dataclass(frozen=True)
class RowTokenizer:
    """A model's tokenizer and chat template."""

    tokenizer: Tokenizer
    render: Callable[[list[dict[str, str]], bool], str] | None
    """Conversation, and whether the assistant's turn is opened at its end, to text. None: no chat template."""

    def length(self, row: Row) -> Length:
        """Tokens of the row, its target's counted apart."""
        prompt, whole = self.texts(row)
        total = len(self.tokenizer.encode(whole, add_special_tokens=False).ids)
        before = len(self.tokenizer.encode(prompt, add_special_tokens=False).ids) if prompt else 0
        return Length(total, total - before)

    def texts(self, row: Row) -> tuple[str, str]:
        """What the model sees before the target, and all of it.

        Raises BadConfigError where the template refuses the conversation.
        """
        if not row.prompt:
            return "", row.target
        if self.render is None:
            prompt = "\n\n".join(m.content for m in row.prompt)
            return prompt, prompt + row.target
        turns = [m.as_json() for m in row.prompt]
        try:
            return self.render(turns, True), self.render([*turns, {"role": "assistant", "content": row.target}], False)
        except TemplateError as error:
            raise BadConfigError(
                "TemplateRefused", f"the model's chat template refuses {row.place}: {error.message}"
            ) from error


def load_row_tokenizer(folder: Path) -> RowTokenizer:
    """The tokenizer of a model's folder.

    Raises ModelError where tokenizer.json is missing.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            "ModelUnreadable", f"{folder} has no tokenizer.json", "use a model with a fast tokenizer (tokenizer.json)"
        )
    return RowTokenizer(Tokenizer.from_file(str(path)), _chat_template(folder))


def _chat_template(folder: Path) -> Callable[[list[dict[str, str]], bool], str] | None:
    config_path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(config_path.read_text(encoding="utf-8")) if config_path.is_file() else {}
    file = folder / "chat_template.jinja"
    source = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
    if isinstance(source, list):
        source = next((t["template"] for t in source if t["name"] == "default"), None)
    if not source:
        return None
    # The environment of transformers' chat templates (utils/chat_template_utils.py).
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}  # noqa: DTZ005 - as upstream
    template = environment.from_string(source)
    special = {k: _content(config[k]) for k in ("bos_token", "eos_token", "pad_token", "unk_token") if config.get(k)}

    def render(messages: list[dict[str, str]], opened: bool) -> str:
        return template.render(messages=messages, add_generation_prompt=opened, tools=None, **special)

    return render


def _content(token: str | dict[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


def _refuse(message: str) -> None:
    raise TemplateError(message)

"""Counts tokens exactly as training will, without loading a model or torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer

from hearth_trainer.chat_template import Render, load_chat_template
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
    render: Render | None
    """None: no chat template."""

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

    Raises ModelError where tokenizer.json is missing, or the chat template is broken.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            "ModelUnreadable", f"{folder} has no tokenizer.json", "use a model with a fast tokenizer (tokenizer.json)"
        )
    config_path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(config_path.read_text(encoding="utf-8")) if config_path.is_file() else {}
    return RowTokenizer(Tokenizer.from_file(str(path)), load_chat_template(folder, config))

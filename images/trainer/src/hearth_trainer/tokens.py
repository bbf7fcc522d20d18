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
from hearth_trainer.metrics import Wanted
from hearth_trainer.rows import Row

MARK = "\ue000"
"""Stands for an answer where its place is sought: of Unicode's private use area, where no template has anything."""


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
    end: str = ""
    """The token behind a text that no chat template writes; "" where the model's files name none."""

    def length(self, row: Row) -> Length:
        """Tokens of the row, its target's counted apart."""
        prompt, whole = self.ids(row)
        return Length(len(whole), len(whole) - len(prompt))

    def ids(self, row: Row) -> tuple[list[int], list[int]]:
        """What the model sees before the target, and all of it, in tokens. Nothing stands before plain text.

        A chat template writes all special tokens itself. Any other text begins as the tokenizer begins one, for many
        models with a token of its own, without which they talk nonsense (TRL 1.16, data_utils.py, _tokenize). What that
        is tokenizer.json says alone: transformers 5 does not hear `add_bos_token` where there is one.
        """
        special = self.render is None or not row.prompt
        prompt, whole = (self.tokenizer.encode(text, add_special_tokens=special).ids for text in self.texts(row))
        return prompt if row.prompt else [], whole

    def texts(self, row: Row) -> tuple[str, str]:
        """What the model sees before the target, and all of it, but for what the tokenizer begins a text with.

        Raises BadConfigError where the template refuses the conversation, or opens an answer otherwise than it writes
        one.
        """
        # TRL 1.16 (trainer/sft_trainer.py, add_eos) ends what is no conversation so.
        end = "" if row.target.endswith(self.end) else self.end
        if not row.prompt:
            return "", row.target + end
        if self.render is None:
            prompt = "\n\n".join(m.content for m in row.prompt)
            return prompt, prompt + row.target + end
        prompt, whole = self._asked(row), self._answered(row, row.target)
        if not whole.startswith(prompt):
            raise _otherwise_answered(row, prompt, whole)
        return prompt, whole

    def wanted(self, row: Row) -> Wanted:
        """What an answer to the row is compared with.

        Many templates of models that reason write something between the opened turn and an answer. It is learnt, and
        said, with the target, and is no part of it.
        """
        if self.render is None or not row.prompt:
            return Wanted(row.target)
        prompt, whole = self.texts(row)
        lead, found, _ = self._answered(row, MARK).removeprefix(prompt).partition(MARK)
        # Where the target brings its own, as rows with reasoning do, nothing is put before it.
        behind = whole.removeprefix(prompt + lead).lstrip()
        if not found or behind == whole.lstrip() or not behind.startswith(row.target.strip()):
            return Wanted(row.target)
        ids = self.tokenizer.encode(lead, add_special_tokens=False).ids
        return Wanted(row.target, self.tokenizer.decode(ids, skip_special_tokens=True))

    def _asked(self, row: Row) -> str:
        return self._rendered(row, [m.as_json() for m in row.prompt], opened=True)

    def _answered(self, row: Row, answer: str) -> str:
        turns = [*(m.as_json() for m in row.prompt), {"role": "assistant", "content": answer}]
        return self._rendered(row, turns, opened=False)

    def _rendered(self, row: Row, turns: list[dict[str, str]], *, opened: bool) -> str:
        assert self.render is not None
        try:
            return self.render(turns, opened)
        except TemplateError as error:
            told = f"the model's chat template refuses {row.place}: {error.message}"
            raise BadConfigError("TemplateRefused", told) from error


def _otherwise_answered(row: Row, prompt: str, whole: str) -> BadConfigError:
    """Such a model would learn to answer behind another text than it is asked behind (TRL 1.16 warns of it)."""
    parted = next((at for at, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(whole))
    opened, written = (text[max(0, parted - 20) :][:80] for text in (prompt, whole))
    return BadConfigError(
        "TemplateRefused",
        f"the model's chat template opens an answer with {opened!r}, and writes the answer of {row.place} with "
        f"{written!r} instead: it would learn to answer behind another text than it is asked behind",
        "use a model whose chat template writes an answer behind what it opens one with, or mend that template",
    )


def load_row_tokenizer(folder: Path) -> RowTokenizer:
    """The tokenizer of a model's folder.

    Raises ModelError where tokenizer.json is missing, or the chat template is broken.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            "ModelUnreadable", f"{folder} has no tokenizer.json", "use a model with a fast tokenizer (tokenizer.json)"
        )
    tokenizer = Tokenizer.from_file(str(path))
    config = _read_json(folder / "tokenizer_config.json")
    special = special_tokens(_read_json(folder / "special_tokens_map.json")) | special_tokens(config)
    return RowTokenizer(tokenizer, load_chat_template(folder, config, special), special.get("eos_token", ""))


def special_tokens(told: dict[str, Any]) -> dict[str, str]:
    """The special tokens by name, where a tokenizer's files say which they are."""
    named = ((name, told.get(name)) for name in ("bos_token", "eos_token", "pad_token", "unk_token"))
    return {name: token if isinstance(token, str) else str(token["content"]) for name, token in named if token}


def _read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found

"""Citations in an answer: which passages it cites, and the answer without citations of passages that do not exist."""

from __future__ import annotations

import re

_NEXT = r" ?[,;] ?"
_CITATION = rf" ?\[(\d{{1,3}}(?:{_NEXT}\d{{1,3}}){{0,7}})\]"
_MARK = re.compile(rf"{_CITATION}|`+|\n")
_BEGUN = re.compile(rf"(?:`+| | ?\[(?:\d{{1,3}}{_NEXT}){{0,7}}(?:\d{{1,3}} ?)?)?\Z")
"""What the end of a text may become with more text behind it."""

FENCE = 3
"""Backticks that begin a block of code. Code that fewer begin ends with its line, whether or not they are closed."""


class Citations:
    """Reads an answer, whole or as it is written. What stands in code, such as `rows[0]`, is no citation."""

    def __init__(self, passages: int) -> None:
        self._passages = passages
        self._held = ""
        self._code = 0  # backticks that began the code that is being read; 0 outside of code
        self._in_code: list[int] = []
        self._cited: dict[int, None] = {}

    @property
    def real(self) -> list[int]:
        """The numbers of passages that are cited, each once and in order."""
        return [n for n in self._cited if self._exists(n)]

    @property
    def invented(self) -> list[int]:
        """The numbers that are cited and stand for no passage."""
        return [n for n in self._cited if not self._exists(n)]

    def whole(self, answer: str) -> str:
        """Reads all of an answer, and gives it without invented citations."""
        return self.add(answer) + self.end()

    def add(self, text: str) -> str:
        """Takes what the model wrote, and gives what is sure of it: what may become a citation is held back.

        That is about forty characters at most, where a list of numbers is being written, and as a rule a space.
        """
        self._held += text
        begun = _BEGUN.search(self._held)
        cut = begun.start() if begun else len(self._held)
        ready, self._held = self._held[:cut], self._held[cut:]
        return _MARK.sub(self._given, ready)

    def end(self) -> str:
        """Gives what was held back."""
        rest = _MARK.sub(self._given, self._held)
        self._held = ""
        self._end_line()
        return rest

    def _given(self, mark: re.Match[str]) -> str:
        """What is given in place of a citation, a run of backticks or the end of a line."""
        text = mark[0]
        if text == "\n":
            self._end_line()
        elif text.startswith("`"):
            self._backticks(len(text))
        else:
            return self._citation(text, [int(n) for n in re.findall(r"\d+", text)])
        return text

    def _citation(self, text: str, numbers: list[int]) -> str:
        if self._code:
            self._in_code += numbers
            return text
        self._cited |= dict.fromkeys(numbers)
        real = [str(n) for n in numbers if self._exists(n)]
        if len(real) == len(numbers):
            return text
        return f"{text[: text.index('[')]}[{', '.join(real)}]" if real else ""

    def _backticks(self, count: int) -> None:
        if self._code == 0:
            self._code = count
        elif count == self._code or count > self._code >= FENCE:
            self._code = 0
            self._in_code.clear()

    def _end_line(self) -> None:
        """Backticks that nothing has closed were no code, and citations behind them are some."""
        if self._code < FENCE:
            self._cited |= dict.fromkeys(self._in_code)
            self._in_code.clear()
            self._code = 0

    def _exists(self, number: int) -> bool:
        return 1 <= number <= self._passages

"""Which rows are held out, where no rows are given for it."""

from __future__ import annotations


class Split:
    """Chooses by a hash of each prompt, so that rows may be added or moved freely; equal prompts stay together.

    Of two or more prompts at least one is held out: every key has to be seen before the first is asked about.
    """

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction
        self._lowest: str | None = None
        self._several = self._any = False

    def see(self, prompt_key: str) -> None:
        """Takes note of a row's prompt."""
        self._any = self._any or self._by_hash(prompt_key)
        if self._lowest is None:
            self._lowest = prompt_key
        self._several = self._several or prompt_key != self._lowest
        self._lowest = min(self._lowest, prompt_key)

    def holds_out(self, prompt_key: str) -> bool:
        """Whether rows with this prompt are held out."""
        if self._any or not self._several:
            return self._by_hash(prompt_key)
        return prompt_key == self._lowest

    def _by_hash(self, prompt_key: str) -> bool:
        return int(prompt_key[:8], 16) / 2**32 < self.fraction

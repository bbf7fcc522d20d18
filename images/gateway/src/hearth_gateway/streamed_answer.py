"""What of an answer goes to the client while it is still being written."""

from __future__ import annotations

import re

from hearth_gateway.passages import begins_to_decline, declines, without_invented

_BEGUN_CITATION = re.compile(r" ?(?:\[\d{0,3})?$")


class StreamedAnswer:
    """Holds back what may become the citation of no passage, at most five characters.

    With a message for abstentions also the beginning of a decline, so that the message can be said instead. An answer
    that does not begin like one is not held.
    """

    def __init__(self, passages: int, abstain_message: str | None) -> None:
        self._passages, self._message = passages, abstain_message
        self._held = ""
        self._undecided = abstain_message is not None

    def add(self, text: str) -> str:
        """Takes what the model wrote, and says what the client gets now."""
        self._held += text
        self._undecided = self._undecided and begins_to_decline(self._held)
        if self._undecided:
            return ""
        cut = len(self._held) - len(_tail(self._held))
        ready, self._held = self._held[:cut], self._held[cut:]
        return without_invented(ready, self._passages)

    def end(self) -> str:
        """What the client gets at the end: what was held back, or the message in place of a decline."""
        rest, self._held = without_invented(self._held, self._passages), ""
        return self._message if self._message and self._undecided and declines(rest) else rest


def _tail(text: str) -> str:
    found = _BEGUN_CITATION.search(text)
    return found[0] if found else ""

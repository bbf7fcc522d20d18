"""What of an answer goes to the client while it is still being written."""

from __future__ import annotations

from hearth_gateway.citations import Citations
from hearth_gateway.passages import begins_to_decline, declines


class StreamedAnswer:
    """Holds back what may become the citation of no passage, unless the answer is passed on as it is written.

    With a message for abstentions also the beginning of a decline, so that the message can be said instead. An answer
    that does not begin like one is not held.
    """

    def __init__(self, passages: int, abstain_message: str | None, *, as_written: bool = False) -> None:
        self._citations, self._message, self._as_written = Citations(passages), abstain_message, as_written
        self._begun = ""
        self._undecided = abstain_message is not None

    def add(self, text: str) -> str:
        """Takes what the model wrote, and says what the client gets now."""
        if self._as_written:
            return text
        self._begun += text
        self._undecided = self._undecided and begins_to_decline(self._begun)
        if self._undecided:
            return ""
        text, self._begun = self._begun, ""
        return self._citations.add(text)

    def end(self) -> str:
        """What the client gets at the end: what was held back, or the message in place of a decline."""
        rest = self._citations.whole(self._begun)
        return self._message if self._message and self._undecided and declines(rest) else rest

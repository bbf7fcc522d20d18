"""Answering a chat from an index: retrieve, put the passages before the model, check what it cites."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from hearth_gateway import sse
from hearth_gateway.citations import Citations
from hearth_gateway.config import RagConfig
from hearth_gateway.context_budget import Counter, fitting
from hearth_gateway.errors import bad_request
from hearth_gateway.metrics import Metrics
from hearth_gateway.passages import SYSTEM, Passage, declines, question_with_passages
from hearth_gateway.policy import Body, check_messages, has_form, is_text
from hearth_gateway.retrieval import Retriever
from hearth_gateway.streamed_answer import StreamedAnswer

ABSTAIN = "The documents do not hold the answer."
NOTHING_USED = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What was found for a question. `abstain` says that none is near enough, so that the model is not asked.

    `as_written` says that the answer is passed on without a change, because the request gives it a form.
    """

    passages: list[Passage]
    best_similarity: float | None
    mode: str
    seconds: float
    abstain: bool
    as_written: bool


class Rag:
    """The RAG of one service."""

    def __init__(self, config: RagConfig, retriever: Retriever, metrics: Metrics) -> None:
        self.config, self._retriever, self._metrics = config, retriever, metrics

    async def close(self) -> None:
        """Closes what is open."""
        await self._retriever.close()

    async def prepare(self, body: Body, count: Counter) -> tuple[Body, Retrieved]:
        """The chat with passages in it, found for its last user message. Raises ApiError (400, 503).

        `count` counts tokens as the model reads them.
        """
        messages = check_messages(body)
        if body.get("n") not in (None, 1):
            raise bad_request("n must be 1: answers from documents are given one at a time", param="n")
        last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=None)
        if last is None:
            raise bad_request("no user message to answer", param="messages")
        question = _text(messages[last])
        if not question:
            raise bad_request("the last user message has no text", param="messages")
        if not _encodable(question):
            message = "the last user message holds half of a surrogate pair, which is no character: leave it out"
            raise bad_request(message, param="messages")
        begun = time.monotonic()
        found = await self._retriever.find(question)
        seconds = time.monotonic() - begun
        self._metrics.retrieval.observe(seconds)
        passages = await fitting(found.passages, self.config.max_context_tokens, count)
        asked = question_with_passages(question, passages, self.config.prompt_template)
        rewritten = body | {"messages": _rewritten(messages, last, asked)}
        abstain = self._abstains(found.best_similarity)
        return rewritten, Retrieved(passages, found.best_similarity, found.mode, seconds, abstain, has_form(body))

    def _abstains(self, best: float | None) -> bool:
        if best is None:
            return True
        return self.config.min_similarity is not None and best < self.config.min_similarity

    def judge(self, found: Retrieved, answer: str | None) -> tuple[str | None, dict[str, Any]]:
        """The answer as it is given out, and the `hearth` part of the response: citations, abstention, retrieval.

        An answer of None calls tools, and says nothing.
        """
        citations = Citations(len(found.passages))
        given = citations.whole(answer or "")
        abstained = declines(given)
        if abstained:
            self._metrics.abstained.labels("model").inc()
            given = self.config.abstain_message or given
        report = self._report(found, citations.real, citations.invented, abstained=abstained)
        return answer if answer is None or found.as_written else given, report

    def abstained(self, found: Retrieved) -> tuple[str, dict[str, Any]]:
        """What is said when no passage is near enough."""
        self._metrics.abstained.labels("similarity").inc()
        return self.config.abstain_message or ABSTAIN, self._report(found, [], [], abstained=True)

    def _report(self, found: Retrieved, real: list[int], invented: list[int], *, abstained: bool) -> dict[str, Any]:
        retrieval: dict[str, Any] = {
            "index": self.config.index,
            "mode": found.mode,
            "milliseconds": round(found.seconds * 1000),
        }
        if found.best_similarity is not None:
            retrieval["bestSimilarity"] = round(found.best_similarity, 4)
        report: dict[str, Any] = {"abstained": abstained, "retrieval": retrieval}
        if self.config.citations:
            retrieval["passages"] = [_where(n, p) for n, p in enumerate(found.passages, start=1)]
            report["citations"] = [_citation(n, found.passages[n - 1]) for n in real]
        if invented:
            report["unknownCitations"] = invented
        return report

    async def stream(self, found: Retrieved, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The engine's stream without invented citations, with the `hearth` part in the chunk that ends the answer."""
        answer = ""
        streamed = StreamedAnswer(len(found.passages), self.config.abstain_message, as_written=found.as_written)
        async for data in sse.events(chunks):
            if data == "[DONE]":
                yield sse.DONE
                continue
            chunk = json.loads(data)
            for choice in chunk.get("choices", []):
                delta = choice.get("delta") or {}
                text = delta.get("content") or ""
                answer += text
                given = streamed.add(text)
                if choice.get("finish_reason") is not None:
                    given += streamed.end()
                    chunk["hearth"] = self.judge(found, answer)[1]
                if text or given:
                    choice["delta"] = delta | {"content": given}
            yield sse.event(chunk)


def completion(body: Body, request_id: str, answer: str, report: dict[str, Any]) -> dict[str, Any]:
    """A chat completion that no model wrote."""
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop", "logprobs": None}
        ],
        "usage": NOTHING_USED,
        "hearth": report,
    }


def completion_chunks(body: Body, request_id: str, answer: str, report: dict[str, Any]) -> list[bytes]:
    """The same as a stream."""
    head = {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body["model"],
    }
    said = {"index": 0, "delta": {"role": "assistant", "content": answer}, "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events = [head | {"choices": [said]}, head | {"choices": [end], "hearth": report}]
    options = body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        events.append(head | {"choices": [], "usage": NOTHING_USED})
    return [*map(sse.event, events), sse.DONE]


def _where(number: int, passage: Passage) -> dict[str, Any]:
    near = {} if passage.similarity is None else {"similarity": round(passage.similarity, 4)}
    place = {"number": number, "document": passage.document, "title": passage.title, "heading": passage.heading}
    return place | {"score": round(passage.score, 4)} | near


def _citation(number: int, passage: Passage) -> dict[str, Any]:
    return _where(number, passage) | {"text": passage.text}


def _rewritten(messages: list[Body], last: int, asked: str) -> list[Body]:
    """Our system message with the chat's own behind it, and the turns, with the passages in the question's.

    What follows the question stays: calls of tools and what came of them, and the beginning of an answer.
    """
    own = [_text(m) for m in messages if m["role"] in ("system", "developer")]
    system = "\n\n".join([SYSTEM, *(text for text in own if text)])
    turns = [*messages[:last], _asking(messages[last], asked), *messages[last + 1 :]]
    return [{"role": "system", "content": system}, *(m for m in turns if m["role"] not in ("system", "developer"))]


def _asking(message: Body, asked: str) -> Body:
    """The user message with another text; its images and other parts that are no text stay behind it."""
    content = message["content"]
    others = [p for p in content if not is_text(p)] if isinstance(content, list) else []
    return message | {"content": [{"type": "text", "text": asked}, *others] if others else asked}


def _encodable(text: str) -> bool:
    """Whether it can be written in UTF-8: JSON may hold half of a surrogate pair, which Milvus and embedders refuse."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(message: Body) -> str:
    """A message's text; of a message in parts, that of its text parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content.strip()
    if isinstance(content, list):
        parts = [p["text"] for p in content if is_text(p)]
        return "\n".join(parts).strip()
    return ""

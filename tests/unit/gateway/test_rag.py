"""Answers from an index: the prompt, the citations, and when none is given."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hearth_gateway.passages import (
    SYSTEM,
    numbered,
    question_with_passages,
)
from hearth_gateway.retrieval import Found
from made_passages import passage

CHAT = "/v1/chat/completions"
RAG = {
    "index": "handbook",
    "milvus": {"uri": "http://nowhere:19530", "collection": "handbook", "owner": "team/handbook"},
    "embedding": {"url": "http://nowhere/v1", "model": "minilm", "field": "dense_text"},
}


@dataclass
class FakeIndex:
    """Finds what the test put there."""

    found: Found = field(default_factory=lambda: Found([passage(1), passage(2)], 0.5, "Dense"))
    asked: list[str] = field(default_factory=list)

    async def find(self, question: str) -> Found:
        self.asked.append(question)
        return self.found

    async def close(self) -> None:
        """Nothing is open."""


def ask(*contents: Any, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]} | more


HELLO = {"role": "user", "content": "Hello?"}


async def test_the_model_sees_numbered_passages_and_the_question(gateway: Any, engine: Any, calling: Any) -> None:
    index = FakeIndex()
    async with calling(gateway(index, rag=RAG)) as client:
        await client.post(CHAT, json=ask("How many days?"))
    assert index.asked == ["How many days?"]
    assert engine.asked[0].body["messages"] == [
        {"role": "system", "content": SYSTEM},
        {
            "role": "user",
            "content": "Passages:\n[1] Title 1 > Part 1\nFact 1.\n\n[2] Title 2 > Part 2\nFact 2.\n\n"
            "Question: How many days?",
        },
    ]


async def test_the_format_is_the_one_that_fine_tuning_rows_teach() -> None:
    # The rows of examples/raft are written by another program: the two must never drift apart.
    text = question_with_passages("Q?", [passage(1)])
    assert text == "Passages:\n[1] Title 1 > Part 1\nFact 1.\n\nQuestion: Q?"
    assert SYSTEM == (
        "Answer from the passages only. Cite the passage as [n]. "
        "If they do not hold the answer, say: not in the documents."
    )


async def test_earlier_turns_are_kept_and_only_the_last_question_is_retrieved_for(
    gateway: Any, engine: Any, calling: Any
) -> None:
    index = FakeIndex()
    async with calling(gateway(index, rag=RAG)) as client:
        await client.post(CHAT, json=ask("First?", "One.", "And then?"))
    assert index.asked == ["And then?"]
    assert [m["role"] for m in engine.asked[0].body["messages"]] == ["system", "user", "assistant", "user"]
    assert engine.asked[0].body["messages"][1]["content"] == "First?"


ASKED = "Passages:\n[1] Title 1 > Part 1\nFact 1.\n\n[2] Title 2 > Part 2\nFact 2.\n\nQuestion: Weather?"
CALLED: list[dict[str, Any]] = [
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "Rain in Lyon."},
]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.mark.parametrize(
    ("messages", "question", "seen"),
    [
        ([{"role": "user", "content": "Weather?"}, *CALLED], ASKED, CALLED),
        (
            [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "It is"}],
            ASKED,
            [{"role": "assistant", "content": "It is"}],
        ),
        ([{"role": "user", "content": "Weather?"}, {"role": "system", "content": "Be brief."}, *CALLED], ASKED, CALLED),
        (
            [{"role": "user", "content": [IMAGE, {"type": "text", "text": "Weather?"}]}],
            [{"type": "text", "text": ASKED}, IMAGE],
            [],
        ),
        ([{"role": "user", "content": [{"type": "text", "text": "Weather?"}]}], ASKED, []),
    ],
    ids=["a tool's answer", "the beginning of an answer", "a late system message", "an image", "text in parts"],
)
async def test_what_stands_beside_and_behind_the_question_reaches_the_model(
    gateway: Any, engine: Any, calling: Any, messages: list[Any], question: Any, seen: list[Any]
) -> None:
    index = FakeIndex()
    async with calling(gateway(index, rag=RAG)) as client:
        assert (await client.post(CHAT, json={"messages": messages})).status_code == 200
    assert index.asked == ["Weather?"]
    system, asked, *behind = engine.asked[0].body["messages"]
    assert system["content"] == "\n\n".join([SYSTEM, *(m["content"] for m in messages if m["role"] == "system")])
    assert asked == {"role": "user", "content": question}
    assert behind == seen


async def test_an_answer_comes_with_the_passages_that_it_cites(gateway: Any, engine: Any, calling: Any) -> None:
    engine.answer = "25 days [2]"
    async with calling(gateway(FakeIndex(), rag=RAG)) as client:
        answer = (await client.post(CHAT, json=ask("How many days?"))).json()
    assert answer["choices"][0]["message"]["content"] == "25 days [2]"
    assert answer["hearth"]["citations"] == [
        {
            "number": 2,
            "document": "doc2.md",
            "title": "Title 2",
            "heading": "Part 2",
            "score": 0.5,
            "similarity": 0.5,
            "text": "Fact 2.",
        }
    ]
    assert answer["hearth"]["abstained"] is False
    assert [p["document"] for p in answer["hearth"]["retrieval"]["passages"]] == ["doc1.md", "doc2.md"]
    assert answer["hearth"]["retrieval"]["bestSimilarity"] == 0.5


@pytest.mark.parametrize("stream", [False, True])
async def test_documents_and_scores_are_withheld_where_citations_are_off(
    gateway: Any, engine: Any, calling: Any, stream: bool
) -> None:
    engine.answer = "25 days [2]"
    async with calling(gateway(FakeIndex(), rag=RAG | {"citations": False})) as client:
        response = await client.post(CHAT, json=ask("How many days?", stream=stream))
    assert '"hearth"' in response.text
    assert '"bestSimilarity"' in response.text
    assert not [word for word in ("citations", "passages", "doc2.md", "score") if word in response.text]


async def test_citations_of_passages_that_do_not_exist_are_taken_out(gateway: Any, engine: Any, calling: Any) -> None:
    engine.answer = "25 days [1] [7]"
    async with calling(gateway(FakeIndex(), rag=RAG)) as client:
        answer = (await client.post(CHAT, json=ask("How many days?"))).json()
    assert answer["choices"][0]["message"]["content"] == "25 days [1]"
    assert answer["hearth"]["unknownCitations"] == [7]


FORMS: list[dict[str, Any]] = [
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {}}},
    {"structured_outputs": {"json": {}}},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("written", ['{"days": [27], "sources": [1, 2]}', "not in the documents"])
async def test_an_answer_that_is_given_a_form_is_passed_on_as_it_is_written(
    gateway: Any, engine: Any, calling: Any, form: dict[str, Any], written: str
) -> None:
    engine.answer = written
    async with calling(gateway(FakeIndex(), rag=RAG | {"abstainMessage": "Not there."})) as client:
        whole = (await client.post(CHAT, json=ask("Q?", **form))).json()
        stream = (await client.post(CHAT, json=ask("Q?", stream=True, **form))).text
    events = [json.loads(e[6:]) for e in stream.split("\n\n") if e.startswith("data: {")]
    assert whole["choices"][0]["message"]["content"] == written
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == written
    for report in (whole["hearth"], events[-1]["hearth"]):
        assert report["abstained"] is (written == "not in the documents")
        assert [c["number"] for c in report["citations"]] == ([1, 2] if "sources" in written else [])


@pytest.mark.parametrize("free", [None, {"type": "text"}])
async def test_an_answer_without_a_form_loses_invented_citations(
    gateway: Any, engine: Any, calling: Any, free: dict[str, Any] | None
) -> None:
    engine.answer = "27 days [7]"
    async with calling(gateway(FakeIndex(), rag=RAG)) as client:
        answer = (await client.post(CHAT, json=ask("Q?", response_format=free, structured_outputs=None))).json()
    assert answer["choices"][0]["message"]["content"] == "27 days"


async def test_an_answer_that_only_calls_tools_says_nothing(gateway: Any, engine: Any, calling: Any) -> None:
    engine.answer = None
    async with calling(gateway(FakeIndex(), rag=RAG)) as client:
        answer = (await client.post(CHAT, json=ask("Q?"))).json()
    assert answer["choices"][0]["message"]["content"] is None
    assert answer["hearth"]["abstained"] is False


async def test_a_stream_carries_citations_in_its_last_chunk(gateway: Any, engine: Any, calling: Any) -> None:
    engine.answer = "25 days [2]"
    async with calling(gateway(FakeIndex(), rag=RAG)) as client:
        stream = (await client.post(CHAT, json=ask("How many days?", stream=True))).text
    events = [json.loads(e[6:]) for e in stream.split("\n\n") if e.startswith("data: {")]
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == "25 days [2]"
    assert [e["hearth"]["citations"][0]["number"] for e in events if "hearth" in e] == [2]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert stream.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("written", "said", "abstained", "unknown"),
    [
        ("25 days [1] [7] a year [0]", "25 days [1] a year", False, [7, 0]),
        ("Not in the documents.", "Not there.", True, None),
        ("It costs 12 EUR [1]. Who pays is not in the documents.", None, False, None),
    ],
)
async def test_a_stream_says_what_a_whole_answer_says(
    gateway: Any, engine: Any, calling: Any, written: str, said: str | None, abstained: bool, unknown: list[int] | None
) -> None:
    engine.answer = written
    async with calling(gateway(FakeIndex(), rag=RAG | {"abstainMessage": "Not there."})) as client:
        whole = (await client.post(CHAT, json=ask("Q?"))).json()
        stream = (await client.post(CHAT, json=ask("Q?", stream=True))).text
    events = [json.loads(e[6:]) for e in stream.split("\n\n") if e.startswith("data: {")]
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == (said or written)
    assert whole["choices"][0]["message"]["content"] == (said or written)
    for report in (whole["hearth"], events[-1]["hearth"]):
        assert report["abstained"] is abstained
        assert report.get("unknownCitations") == unknown


async def test_an_abstention_that_no_model_wrote_tells_its_usage_where_asked_to(
    gateway: Any, engine: Any, calling: Any
) -> None:
    body = ask("Q?", stream=True, stream_options={"include_usage": True})
    async with calling(gateway(FakeIndex(Found([], None, "Dense")), rag=RAG)) as client:
        stream = (await client.post(CHAT, json=body)).text
    last = json.loads(stream.split("\n\n")[-3].removeprefix("data: "))
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 0)


@pytest.mark.parametrize("streamed", [False, True])
async def test_nothing_near_enough_is_said_without_asking_the_model(
    gateway: Any, engine: Any, calling: Any, streamed: bool
) -> None:
    index = FakeIndex(Found([passage(1, 0.2)], 0.2, "Dense"))
    rag = RAG | {"minSimilarity": 0.3, "abstainMessage": "I can't find that."}
    async with calling(gateway(index, rag=rag)) as client:
        response = await client.post(CHAT, json=ask("Who won the cup?", stream=streamed))
    assert engine.asked == []
    assert "I can't find that." in response.text
    assert '"abstained":true' in response.text


async def test_an_empty_index_abstains(gateway: Any, engine: Any, calling: Any) -> None:
    async with calling(gateway(FakeIndex(Found([], None, "Dense")), rag=RAG)) as client:
        answer = (await client.post(CHAT, json=ask("Anything?"))).json()
    assert engine.asked == []
    assert answer["choices"][0]["message"]["content"] == "The documents do not hold the answer."
    assert answer["hearth"] == {
        "abstained": True,
        "citations": [],
        "retrieval": {
            "index": "handbook",
            "mode": "Dense",
            "passages": [],
            "milliseconds": answer["hearth"]["retrieval"]["milliseconds"],
        },
    }


async def test_a_model_that_declines_is_an_abstention(gateway: Any, engine: Any, calling: Any) -> None:
    engine.answer = "Not in the\ndocuments."
    async with calling(gateway(FakeIndex(), rag=RAG | {"abstainMessage": "Not there."})) as client:
        answer = (await client.post(CHAT, json=ask("Q?"))).json()
    assert answer["choices"][0]["message"]["content"] == "Not there."
    assert answer["hearth"]["abstained"] is True
    assert answer["hearth"]["citations"] == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "no user message"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "has no text"),
        (ask("Q?", n=2), "n must be 1"),
        (ask("Who \ud83d?"), "half of a surrogate pair"),
        (ask([{"type": "text", "text": None}]), "must be a string"),
        (ask([{"type": "text", "text": "Who?"}, {"type": "text", "text": 5}]), "must be a string"),
        (ask([{"type": "text"}]), "must be a string"),
        ({"messages": [{"role": "system", "content": [{"type": "text", "text": None}]}, HELLO]}, "must be a string"),
    ],
)
async def test_a_chat_without_a_question_is_refused(
    gateway: Any, engine: Any, calling: Any, body: dict[str, Any], said: str
) -> None:
    index = FakeIndex()
    async with calling(gateway(index, rag=RAG)) as client:
        response = await client.post(CHAT, content=json.dumps(body))
    assert response.status_code == 400
    assert index.asked == []
    assert said in response.json()["error"]["message"]
    assert response.json()["error"]["param"] in ("messages", "n")


async def test_a_request_may_ask_the_model_alone(gateway: Any, engine: Any, calling: Any) -> None:
    index = FakeIndex()
    async with calling(gateway(index, rag=RAG)) as client:
        answer = (await client.post(CHAT, json=ask("Q?", hearth={"rag": False}))).json()
        plain = await client.post("/v1/completions", json={"prompt": "x", "hearth": {"rag": False}})
        odd = await client.post(CHAT, json=ask("Q?", hearth={"index": "other"}))
    assert index.asked == []
    assert "hearth" not in answer
    assert [a.body.get("hearth") for a in engine.asked] == [None, None]
    assert engine.asked[0].body["messages"] == [{"role": "user", "content": "Q?"}]
    assert plain.status_code == 200
    assert odd.status_code == 400


async def test_plain_completions_do_not_bypass_the_documents_unasked(gateway: Any, engine: Any, calling: Any) -> None:
    async with calling(gateway(FakeIndex(), rag=RAG)) as client:
        response = await client.post("/v1/completions", json={"prompt": "x"})
    assert response.status_code == 400
    assert engine.asked == []


async def test_the_engines_refusal_of_a_long_prompt_reaches_the_client(gateway: Any, engine: Any, calling: Any) -> None:
    engine.faults = ["refuse"]
    async with calling(gateway(FakeIndex(), rag=RAG)) as client:
        assert (await client.post(CHAT, json=ask("Q?"))).status_code == 400


class BrokenIndex(FakeIndex):
    """Fails in a way that nobody thought of."""

    async def find(self, question: str) -> Found:
        raise ZeroDivisionError("secret inside")


async def test_what_nobody_thought_of_is_an_openai_error_and_counted_as_one(
    gateway: Any, engine: Any, calling: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = gateway(BrokenIndex(), rag=RAG)
    async with calling(made) as client:
        response = await client.post(CHAT, json=ask("Q?"), headers={"x-request-id": "abc-1"})
        metrics = (await client.get("/metrics")).text
    error = response.json()["error"]
    assert response.status_code == 500
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert "abc-1" in error["message"]
    assert "secret inside" not in response.text
    assert "ZeroDivisionError" in caplog.text
    assert 'hearth_gateway_requests_total{route="chat",status="500"} 1.0' in metrics
    assert made.admission.in_flight == 0


async def test_a_stream_that_cannot_be_read_ends_with_an_error_event(gateway: Any, engine: Any, calling: Any) -> None:
    engine.garbage = True
    made = gateway(FakeIndex(), rag=RAG)
    async with calling(made) as client:
        response = await client.post(CHAT, json=ask("Q?", stream=True))
        metrics = (await client.get("/metrics")).text
    assert '"code":"internal_error"' in response.text
    assert response.text.endswith("data: [DONE]\n\n")
    assert 'hearth_gateway_requests_total{route="chat",status="500"} 1.0' in metrics
    assert made.admission.in_flight == 0


def small_vocabulary(text: str) -> int:
    """Four letters of English are a token, and a Chinese character is two, as in SmolLM2's tokenizer."""
    return sum(1 if c.isascii() else 8 for c in text) // 4


def shown(engine: Any) -> str:
    """The passages that the model saw."""
    text: str = engine.asked[-1].body["messages"][-1]["content"]
    return text.removeprefix("Passages:\n").partition("\n\nQuestion:")[0]


@pytest.mark.parametrize(
    "texts",
    [("漢" * 900,), ("漢" * 100, "word " * 400, "漢" * 100), ("word " * 400, "漢" * 400)],
    ids=["Chinese", "mixed", "Chinese at the end"],
)
async def test_passages_fit_the_room_they_have_in_the_engines_own_tokens(
    gateway: Any, engine: Any, calling: Any, texts: tuple[str, ...]
) -> None:
    engine.counts = small_vocabulary
    index = FakeIndex(Found([passage(n, text=text) for n, text in enumerate(texts, start=1)], 0.5, "Dense"))
    async with calling(gateway(index, rag=RAG | {"maxContextTokens": 600})) as client:
        await client.post(CHAT, json=ask("Q?"))
    assert 200 < small_vocabulary(shown(engine)) <= 600


async def test_no_passage_is_left_out_that_fits(gateway: Any, engine: Any, calling: Any) -> None:
    engine.counts = small_vocabulary
    found = [passage(n, text="word " * 80) for n in (1, 2)]
    async with calling(gateway(FakeIndex(Found(found, 0.5, "Dense")), rag=RAG | {"maxContextTokens": 220})) as client:
        await client.post(CHAT, json=ask("Q?"))
    assert shown(engine) == numbered(found)


async def test_passages_that_surely_fit_are_not_counted(gateway: Any, engine: Any, calling: Any) -> None:
    async with calling(gateway(FakeIndex(), rag=RAG)) as client:
        await client.post(CHAT, json=ask("Q?"))
    assert [a.path for a in engine.asked] == [CHAT]


async def test_where_the_engine_does_not_count_an_estimate_does(gateway: Any, engine: Any, calling: Any) -> None:
    index = FakeIndex(Found([passage(1, text="漢" * 900)], 0.5, "Dense"))
    async with calling(gateway(index, rag=RAG | {"maxContextTokens": 300})) as client:
        assert (await client.post(CHAT, json=ask("Q?"))).status_code == 200
    assert 250 < shown(engine).count("漢") <= 300


async def test_an_answer_to_a_part_of_the_question_is_given_out_with_its_citations(
    gateway: Any, engine: Any, calling: Any
) -> None:
    engine.answer = "It costs 12 EUR [1]. Who pays is not in the documents."
    async with calling(gateway(FakeIndex(), rag=RAG | {"abstainMessage": "Not there."})) as client:
        answer = (await client.post(CHAT, json=ask("Q?"))).json()
    assert answer["choices"][0]["message"]["content"] == engine.answer
    assert answer["hearth"]["abstained"] is False
    assert [c["number"] for c in answer["hearth"]["citations"]] == [1]


async def test_a_model_that_declines_with_an_invented_citation_declines(
    gateway: Any, engine: Any, calling: Any
) -> None:
    engine.answer = "Not in the documents [7]."
    async with calling(gateway(FakeIndex(), rag=RAG)) as client:
        answer = (await client.post(CHAT, json=ask("Q?"))).json()
    assert answer["choices"][0]["message"]["content"] == "Not in the documents."
    assert answer["hearth"]["abstained"] is True
    assert answer["hearth"]["unknownCitations"] == [7]

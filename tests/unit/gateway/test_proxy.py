"""The gateway as a proxy: what it passes on, retries, limits and refuses."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hearth_gateway import access

HELLO = {"messages": [{"role": "user", "content": "What colour is it?"}]}
CHAT = "/v1/chat/completions"


def texts(stream: str) -> str:
    data = [line[6:] for line in stream.split("\n\n") if line.startswith("data: ") and line != "data: [DONE]"]
    return "".join(json.loads(d)["choices"][0]["delta"].get("content", "") for d in data if "choices" in d)


async def test_a_whole_answer_passes_through(gateway: Any, engine: Any, calling: Any) -> None:
    async with calling(gateway()) as client:
        response = await client.post(CHAT, json=HELLO, headers={"x-request-id": "abc-1"})
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "It is blue."
    assert response.headers["x-request-id"] == "abc-1"
    assert engine.asked[0].headers["x-request-id"] == "abc-1"
    assert response.json()["model"] == "court"


async def test_a_stream_passes_through(gateway: Any, engine: Any, calling: Any) -> None:
    async with calling(gateway()) as client:
        response = await client.post(CHAT, json=HELLO | {"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert texts(response.text) == "It is blue."
    assert response.text.endswith("data: [DONE]\n\n")


async def test_every_request_has_a_connection_of_its_own(gateway: Any, engine: Any, calling: Any) -> None:
    async with calling(gateway()) as client:
        for _ in range(3):
            await client.post(CHAT, json=HELLO)
    assert [a.connection for a in engine.asked] == [1, 2, 3]
    assert {a.headers["connection"] for a in engine.asked} == {"close"}


@pytest.mark.parametrize(("fault", "stream"), [("drop", False), ("drop", True), ("half", False), ("headers", True)])
async def test_a_request_whose_engine_is_lost_before_its_first_byte_is_asked_again(
    gateway: Any, engine: Any, calling: Any, fault: str, stream: bool
) -> None:
    engine.faults = [fault]
    async with calling(gateway()) as client:
        response = await client.post(CHAT, json=HELLO | {"stream": stream})
    assert response.status_code == 200
    assert "blue" in response.text
    assert "error" not in response.text
    assert len(engine.asked) == 2


async def test_an_engine_that_is_lost_after_long_work_is_replaced_all_the_same(
    gateway: Any, engine: Any, calling: Any
) -> None:
    engine.faults = ["drop 1.2"]
    made = gateway()
    assert made.upstream.patience < 1.2, "the time that an engine worked is no part of the patience"
    async with calling(made) as client:
        response = await client.post(CHAT, json=HELLO)
    assert response.status_code == 200
    assert len(engine.asked) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_engines_may_have_died_of_twice_is_not_given_to_a_third(
    gateway: Any, engine: Any, calling: Any, stream: bool
) -> None:
    engine.faults = ["drop"] * 5
    async with calling(gateway()) as client:
        response = await client.post(CHAT, json=HELLO | {"stream": stream})
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_lost"
    assert len(engine.asked) == 2


async def test_an_engine_that_is_away_is_waited_for_and_then_told(gateway: Any, calling: Any) -> None:
    made = gateway(upstream="http://127.0.0.1:1")
    async with calling(made) as client:
        response = await client.post(CHAT, json=HELLO)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "unavailable"
    assert "retry-after" in response.headers


async def test_a_stream_that_breaks_off_ends_with_an_error_event(gateway: Any, engine: Any, calling: Any) -> None:
    engine.faults = ["cut"]
    async with calling(gateway()) as client:
        response = await client.post(CHAT, json=HELLO | {"stream": True})
    assert texts(response.text) == "It is"
    assert '"code":"upstream_lost"' in response.text
    assert len(engine.asked) == 1, "what has begun is not repeated"


async def test_the_engines_own_refusal_reaches_the_client(gateway: Any, engine: Any, calling: Any) -> None:
    engine.faults = ["refuse"]
    async with calling(gateway()) as client:
        response = await client.post(CHAT, json=HELLO)
    assert response.status_code == 400
    assert response.json() == {"error": {"message": "no"}}


async def test_a_request_past_its_time_is_given_up(gateway: Any, engine: Any, calling: Any) -> None:
    engine.hold = asyncio.Event()
    async with calling(gateway(requestTimeoutSeconds=0.2)) as client:
        response = await client.post(CHAT, json=HELLO)
        engine.hold.set()
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "timeout"


async def test_a_stream_past_its_time_ends_with_an_error_event(gateway: Any, engine: Any, calling: Any) -> None:
    engine.answer, engine.word_seconds = "one " + "more " * 200 + "last", 0.02
    async with calling(gateway(requestTimeoutSeconds=1.0)) as client:
        response = await client.post(CHAT, json=HELLO | {"stream": True})
    assert texts(response.text).startswith("one")
    assert '"code":"timeout"' in response.text
    assert "last" not in response.text


async def test_more_requests_than_the_limit_are_turned_away(gateway: Any, engine: Any, calling: Any) -> None:
    engine.hold = asyncio.Event()
    made = gateway(maxInFlight=2)
    async with calling(made) as client:
        first = [asyncio.create_task(client.post(CHAT, json=HELLO)) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert made.admission.in_flight == 2
        refused = await client.post(CHAT, json=HELLO)
        engine.hold.set()
        served = await asyncio.gather(*first)
        after = await client.post(CHAT, json=HELLO)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert [r.status_code for r in (*served, after)] == [200, 200, 200]
    assert made.admission.in_flight == 0


async def test_models_lists_the_served_one(gateway: Any, calling: Any) -> None:
    async with calling(gateway(maxModelLen=2048)) as client:
        listed = (await client.get("/v1/models")).json()
    assert [(m["id"], m["max_model_len"]) for m in listed["data"]] == [("court", 2048)]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_new_name_is_answered_by_engine_pods_that_know_only_the_old_one(
    gateway: Any, engine: Any, calling: Any, stream: bool
) -> None:
    engine.names = ("court-v1",)
    async with calling(gateway(servedName="court-v2")) as client:
        response = await client.post(CHAT, json={**HELLO, "model": "court-v2", "stream": stream})
    assert response.status_code == 200
    assert "It" in response.text


@pytest.mark.parametrize("served", ["court", "court-v2"])
async def test_a_name_with_a_digest_is_for_the_engine_to_judge_also_where_another_is_served(
    gateway: Any, engine: Any, calling: Any, served: str
) -> None:
    body = {"model": "court@0123456789ab", "messages": [{"role": "user", "content": "Hi"}]}
    async with calling(gateway(servedName=served)) as client:
        assert (await client.post(CHAT, json=body)).status_code == 200
    assert engine.asked[0].body["model"] == "court@0123456789ab"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "the body is not JSON"),
        (b"[]", 400, "must be a JSON object"),
        (b'{"model": 7, "messages": []}', 404, "the model 7 does not exist"),
        (b'{"model": "gpt-4", "messages": []}', 404, "this service serves 'court'"),
        (b'{"model": "gpt-4@0123456789ab", "messages": []}', 404, "this service serves 'court'"),
    ],
)
async def test_a_request_that_makes_no_sense_is_told_so(
    gateway: Any, engine: Any, calling: Any, body: bytes, status: int, said: str
) -> None:
    async with calling(gateway()) as client:
        response = await client.post(CHAT, content=body)
    assert response.status_code == status
    assert said in response.json()["error"]["message"]
    assert engine.asked == []


@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": "court"}])
async def test_a_request_without_a_model_gets_the_served_one(
    gateway: Any, engine: Any, calling: Any, model: dict[str, Any]
) -> None:
    async with calling(gateway()) as client:
        assert (await client.post(CHAT, json=HELLO | model)).status_code == 200
    assert "model" not in engine.asked[0].body


@pytest.mark.parametrize("name", ["court", "law/court"])
async def test_a_model_is_looked_up_by_its_name(gateway: Any, calling: Any, name: str) -> None:
    async with calling(gateway(servedName=name)) as client:
        listed = (await client.get("/v1/models")).json()["data"]
        assert (await client.get(f"/v1/models/{name}")).json() == listed[0]
        other = await client.get("/v1/models/gpt-4")
    assert other.status_code == 404
    assert other.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/chat/completions/"])
async def test_an_unknown_path_is_an_openai_error(gateway: Any, calling: Any, path: str) -> None:
    async with calling(gateway()) as client:
        response = await client.post(path, json={})
    assert response.status_code == 404
    assert "/v1/chat/completions" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "allow"), [("GET", CHAT, "POST"), ("DELETE", CHAT, "POST"), ("POST", "/v1/models", "GET, HEAD")]
)
async def test_a_wrong_method_is_an_openai_error_that_names_the_right_one(
    gateway: Any, calling: Any, method: str, path: str, allow: str
) -> None:
    async with calling(gateway()) as client:
        response = await client.request(method, path)
    assert response.status_code == 405
    assert sorted(response.headers["allow"].split(", ")) == allow.split(", ")
    assert method in response.json()["error"]["message"]


async def test_an_embedder_serves_embeddings_only(gateway: Any, engine: Any, calling: Any) -> None:
    async with calling(gateway(task="Embed")) as client:
        assert (await client.post("/v1/embeddings", json={"input": "x"})).status_code == 200
        assert (await client.post(CHAT, json=HELLO)).status_code == 404


async def test_tokens_of_an_embedder_with_keys_can_be_counted_by_those_who_have_one(
    gateway: Any, engine: Any, calling: Any, keys: Path
) -> None:
    body = {"prompt": "x", "add_special_tokens": False}
    engine.counts = len
    async with calling(gateway(task="Embed", keysDirectory=str(keys))) as client:
        assert (await client.post("/tokenize", json=body)).status_code == 401
        known = {"authorization": "Bearer plain-key"}
        assert (await client.post("/tokenize", json=body, headers=known)).status_code == 200
    assert [(a.path, a.body) for a in engine.asked] == [("/tokenize", body)]


async def test_sampling_defaults_are_filled_in_and_locks_hold(gateway: Any, engine: Any, calling: Any) -> None:
    sampling = {"defaults": {"temperature": 0.0, "max_tokens": 64, "seed": 0}, "locked": ["temperature", "max_tokens"]}
    async with calling(gateway(sampling=sampling)) as client:
        await client.post(CHAT, json=HELLO)
        await client.post(CHAT, json=HELLO | {"seed": 5, "temperature": 0})
        warm = await client.post(CHAT, json=HELLO | {"temperature": 0.7})
        longer = await client.post(CHAT, json=HELLO | {"max_completion_tokens": 900})
    sent = [{k: a.body.get(k) for k in ("temperature", "max_tokens", "seed")} for a in engine.asked]
    assert sent == [{"temperature": 0.0, "max_tokens": 64, "seed": 0}, {"temperature": 0, "max_tokens": 64, "seed": 5}]
    assert warm.status_code == 400
    assert warm.json()["error"]["param"] == "temperature"
    assert longer.json()["error"]["param"] == "max_completion_tokens"


async def test_the_system_prompt_is_for_chats_that_bring_none(gateway: Any, engine: Any, calling: Any) -> None:
    async with calling(gateway(systemPrompt="Be brief.")) as client:
        await client.post(CHAT, json=HELLO)
        await client.post(CHAT, json={"messages": [{"role": "system", "content": "Own."}, *HELLO["messages"]]})
    assert [a.body["messages"][0]["content"] for a in engine.asked] == ["Be brief.", "Own."]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "alice").write_text("plain-key\n")
    (tmp_path / "bob").write_text(json.dumps({"key": "json-key", "user": "Bob"}))
    return tmp_path


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic plain-key"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Bearer plain-key"}, 200),
        ({"authorization": "Bearer json-key"}, 200),
    ],
)
async def test_only_known_keys_are_let_in(
    gateway: Any, engine: Any, calling: Any, keys: Path, header: dict[str, str], status: int
) -> None:
    async with calling(gateway(keysDirectory=str(keys))) as client:
        response = await client.post(CHAT, json=HELLO, headers=header)
    assert response.status_code == status
    if status == 401:
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"
        assert engine.asked == []


async def test_keys_are_read_again_when_the_secret_changes(
    gateway: Any, engine: Any, calling: Any, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "CHECK_SECONDS", 0.0)
    async with calling(gateway(keysDirectory=str(keys))) as client:
        new = {"authorization": "Bearer new"}
        assert (await client.post(CHAT, json=HELLO, headers=new)).status_code == 401
        (keys / "carol").write_text("new")
        assert (await client.post(CHAT, json=HELLO, headers=new)).status_code == 200
        (keys / "carol").unlink()
        assert (await client.post(CHAT, json=HELLO, headers=new)).status_code == 401


async def test_without_any_key_nobody_is_let_in_and_the_gateway_is_not_ready(
    gateway: Any, calling: Any, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("")
    async with calling(gateway(keysDirectory=str(tmp_path))) as client:
        assert (await client.get("/readyz")).status_code == 503
        empty = await client.post(CHAT, json=HELLO, headers={"authorization": "Bearer "})
    assert empty.status_code == 401


async def test_a_draining_gateway_is_not_ready_and_sends_clients_away_after_their_answer(
    gateway: Any, engine: Any, calling: Any
) -> None:
    made = gateway()
    async with calling(made) as client:
        assert (await client.get("/readyz")).status_code == 200
        made.admission.draining = True
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200
        response = await client.post(CHAT, json=HELLO)
    assert response.status_code == 200
    assert response.headers["connection"] == "close"


async def test_metrics_count_by_route_and_status(gateway: Any, engine: Any, calling: Any) -> None:
    async with calling(gateway()) as client:
        await client.post(CHAT, json=HELLO)
        await client.post(CHAT, content=b"{")
        text = (await client.get("/metrics")).text
    assert 'hearth_gateway_requests_total{route="chat",status="200"} 1.0' in text
    assert 'hearth_gateway_requests_total{route="chat",status="400"} 1.0' in text
    assert "hearth_gateway_first_byte_seconds_count" in text

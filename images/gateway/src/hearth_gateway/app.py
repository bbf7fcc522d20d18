"""The gateway's HTTP interface."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from hearth_gateway import rag as answers
from hearth_gateway.access import ANYONE, Caller, KeyStore
from hearth_gateway.admission import Admission, Place, request_budget
from hearth_gateway.config import Config, RagConfig
from hearth_gateway.errors import ApiError, bad_request, engine_lost, timed_out
from hearth_gateway.hang_up import WatchedStream, unless_gone
from hearth_gateway.metrics import Metrics
from hearth_gateway.policy import Body, add_system_prompt, apply_sampling, check_model, for_engine, wants_rag
from hearth_gateway.rag import Rag, Retrieved
from hearth_gateway.request_body import read_body, written
from hearth_gateway.retrieval import Retriever
from hearth_gateway.sse import DONE, event
from hearth_gateway.upstream import EngineRequest, Streamed, Upstream

log = logging.getLogger("hearth.gateway")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
PASSED_ON = ("content-type",)
MODELS = "/v1/models"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
EMBEDDINGS, TOKENIZE = "/v1/embeddings", "/tokenize"
Work = Callable[[Request, "Call"], Awaitable[Response]]
Handler = Callable[[Body, "Call"], Coroutine[Any, Any, Response]]


class Call:
    """One request on its way through the gateway."""

    def __init__(self, route: str, request: Request) -> None:
        given = request.headers.get("x-request-id", "")
        self.id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.route = route
        self.begun = time.monotonic()
        self.caller: Caller = ANYONE
        self.stack = AsyncExitStack()
        self.status = 0
        self.place: Place

    @property
    def seconds(self) -> float:
        """Since its arrival."""
        return time.monotonic() - self.begun

    def asked(self, path: str, body: Body) -> EngineRequest:
        """The body as the engine gets it. From here on the request holds no more than this. Raises ApiError (429)."""
        payload = written(for_engine(body))
        self.place.hold(len(payload))
        return EngineRequest(path, payload, bool(body.get("stream")), self.id)


class Gateway:
    """The parts of one gateway process, and the handlers that use them."""

    def __init__(self, config: Config, retriever: Retriever | None = None, patience: float | None = None) -> None:
        self.config = config
        self.metrics = Metrics()
        self.admission = Admission(config.max_in_flight, request_budget(config.memory_bytes), self.metrics)
        self.keys = KeyStore(config.keys_directory) if config.keys_directory else None
        timeout = config.request_timeout_seconds
        more = {} if patience is None else {"patience": patience}
        self.upstream = Upstream(config.upstream, timeout, self.metrics, **more)
        self.rag: Rag | None = None
        if config.rag is not None:
            self.rag = Rag(config.rag, retriever or _milvus(config.rag), self.metrics)

    def app(self) -> Starlette:
        """The ASGI application."""
        chat = self._rag_chat if self.rag else self._forwarding(CHAT, self._adapt_chat)
        routes = [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
            Route(MODELS, self._guarded("models", self._models)),
            # A served name may hold slashes.
            Route(f"{MODELS}/{{model:path}}", self._guarded("models", self._one_model)),
        ]
        if self.config.task == "Generate":
            completions = self._forwarding(COMPLETIONS, self._adapt_completion)
            routes += [
                Route(CHAT, self._guarded("chat", self._asking(chat)), methods=["POST"]),
                Route(COMPLETIONS, self._guarded("completions", self._asking(completions)), methods=["POST"]),
            ]
        else:
            # /tokenize is vLLM's own, beside its OpenAI API: an indexer counts with it how much the embedder reads.
            for route, path in (("embeddings", EMBEDDINGS), ("tokenize", TOKENIZE)):
                asking = self._asking(self._forwarding(path, lambda _: None))
                routes.append(Route(path, self._guarded(route, asking), methods=["POST"]))
        handlers: dict[Any, Any] = {404: self._not_found, 405: self._wrong_method}
        app = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers=handlers)
        # Behind a proxy that ends TLS a redirect would lead to plain http, where clients leave their key behind.
        app.router.redirect_slashes = False
        return app

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        await self.upstream.close()
        if self.rag is not None:
            await self.rag.close()

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def _readyz(self, _: Request) -> Response:
        if self.admission.draining:
            return PlainTextResponse("draining", 503)
        if self.keys is not None and self.keys.empty:
            return PlainTextResponse("no API keys: the Secret of access.apiKeysSecretRef is missing or empty", 503)
        return PlainTextResponse("ok")

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _not_found(self, request: Request, _: Exception) -> Response:
        there = f"{CHAT}, {COMPLETIONS}" if self.config.task == "Generate" else EMBEDDINGS
        message = f"{request.method} {request.url.path} is not served here; there are {MODELS}, {there}"
        return ApiError(404, "invalid_request_error", message, code="not_found").response({})

    async def _wrong_method(self, request: Request, error: Exception) -> Response:
        allow = (error.headers or {}).get("Allow", "") if isinstance(error, HTTPException) else ""
        message = f"{request.url.path} does not answer {request.method}: use {allow}"
        return ApiError(405, "invalid_request_error", message, code="method_not_allowed").response({"allow": allow})

    def _guarded(self, route: str, work: Work) -> Callable[[Request], Awaitable[Response]]:
        """The work behind key check and time limit; what it opened is closed with the last byte."""

        async def handle(request: Request) -> Response:
            call = Call(route, request)
            try:
                call.caller = self.keys.caller(request.headers.get("authorization")) if self.keys else ANYONE
                async with asyncio.timeout(self.config.request_timeout_seconds):
                    response = await work(request, call)
            except ApiError as error:
                response = error.response({})
            except TimeoutError:
                response = timed_out(self.config.request_timeout_seconds).response({})
            except asyncio.CancelledError:
                await self._ended(call, 499)
                raise
            except Exception as error:  # noqa: BLE001 - whatever goes wrong with one request, its client is told so
                response = _failed(call, error).response({})
            response.headers.update(self._headers(call))
            call.status = response.status_code
            if isinstance(response, StreamingResponse):
                response.body_iterator = self._to_the_end(call, response.body_iterator)
                return WatchedStream(response, lambda complete: self._ended(call, call.status if complete else 499))
            await self._ended(call, call.status)
            return response

        return handle

    def _asking(self, handler: Handler) -> Work:
        """Admission, the request's body, and what the handler makes of it."""

        async def work(request: Request, call: Call) -> Response:
            call.place = call.stack.enter_context(self.admission.slot())
            # No name for the body here: a handler that has written it for the engine holds it no longer.
            return await unless_gone(request, handler(await self._body(request, call.place), call))

        return work

    def _headers(self, call: Call) -> dict[str, str]:
        return {"x-request-id": call.id} | ({"connection": "close"} if self.admission.draining else {})

    async def _to_the_end(self, call: Call, chunks: Any) -> AsyncIterator[bytes]:
        """The stream; at the time limit, or where the engine is lost, it is ended by an error event."""
        try:
            async with asyncio.timeout(max(0.0, self.config.request_timeout_seconds - call.seconds)):
                async for chunk in chunks:
                    yield chunk
        except TimeoutError:
            call.status = 504
            yield event(timed_out(self.config.request_timeout_seconds).body())
            yield DONE
        except httpx.HTTPError as error:
            call.status = 502
            yield event(engine_lost(f"the engine ended the answer early ({type(error).__name__})").body())
            yield DONE
        except Exception as error:  # noqa: BLE001 - as before the first byte
            call.status = 500
            yield event(_failed(call, error).body())
            yield DONE

    async def _ended(self, call: Call, status: int) -> None:
        self.metrics.requests.labels(call.route, str(status)).inc()
        self.metrics.duration.labels(call.route).observe(call.seconds)
        more = {"request_id": call.id, "seconds": round(call.seconds, 4), "user": call.caller.user}
        log.info("%s %s", call.route, status, extra=more)
        await call.stack.aclose()

    async def _models(self, _: Request, __: Call) -> Response:
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def _one_model(self, request: Request, _: Call) -> Response:
        check_model(self.config, {"model": request.path_params["model"]})
        return JSONResponse(self._model())

    def _model(self) -> dict[str, Any]:
        entry = {"id": self.config.served_name, "object": "model", "created": 0, "owned_by": "hearth"}
        return entry | ({"max_model_len": self.config.max_model_len} if self.config.max_model_len else {})

    async def _body(self, request: Request, place: Place) -> Body:
        """The request's JSON object, with the served model in it. Raises ApiError (400, 404, 408, 413, 429, 499)."""
        body = await read_body(request, place)
        check_model(self.config, body)
        return body

    def _forwarding(self, path: str, adapt: Callable[[Body], None]) -> Handler:
        """Passes a request on, with what the service sets in it."""

        async def handler(body: Body, call: Call) -> Response:
            adapt(body)
            asked = call.asked(path, body)
            del body
            return await self._proxied(asked, call)

        return handler

    def _adapt_chat(self, body: Body) -> None:
        add_system_prompt(self.config.system_prompt, body)
        apply_sampling(self.config.sampling, body)

    def _adapt_completion(self, body: Body) -> None:
        if self.rag is not None and wants_rag(body):
            advice = f'use {CHAT}, or write "hearth": {{"rag": false}} in the request'
            raise bad_request(f"this service answers from documents: {advice}")
        body.pop("hearth", None)
        apply_sampling(self.config.sampling, body)

    async def _proxied(self, asked: EngineRequest, call: Call) -> Response:
        """The engine's answer as it is: whole, or byte by byte as it comes."""
        if asked.stream:
            begun = await self._begun(asked, call)
            return StreamingResponse(begun.chunks(), begun.status_code, _passed_on(begun))
        answer = await self._whole(asked, call)
        return Response(answer.content, answer.status_code, _passed_on(answer))

    async def _begun(self, asked: EngineRequest, call: Call) -> Streamed:
        begun = await call.stack.enter_async_context(self.upstream.streamed(asked))
        self.metrics.first_byte.labels(call.route).observe(call.seconds)
        return begun

    async def _whole(self, asked: EngineRequest, call: Call) -> httpx.Response:
        answer = await self.upstream.whole(asked, call.place)
        self.metrics.first_byte.labels(call.route).observe(call.seconds)
        return answer

    async def _rag_chat(self, body: Body, call: Call) -> Response:
        assert self.rag is not None
        wanted, found = wants_rag(body), None
        body.pop("hearth", None)
        self._adapt_chat(body)
        if wanted:
            body, found = await self.rag.prepare(body, partial(self.upstream.tokens, call.id))
            if found.abstain:
                return self._abstained(self.rag, found, body, call)
        asked = call.asked(CHAT, body)
        del body
        if found is None:
            return await self._proxied(asked, call)
        if asked.stream:
            begun = await self._begun(asked, call)
            chunks = self.rag.stream(found, begun.chunks()) if begun.status_code == 200 else begun.chunks()
            return StreamingResponse(chunks, begun.status_code, _passed_on(begun))
        answer = await self._whole(asked, call)
        if answer.status_code != 200:
            return Response(answer.content, answer.status_code, _passed_on(answer))
        return JSONResponse(_judged(self.rag, found, answer.json()))

    def _abstained(self, rag: Rag, found: Retrieved, body: Body, call: Call) -> Response:
        text, report = rag.abstained(found)
        if not body.get("stream"):
            return JSONResponse(answers.completion(body, call.id, text, report))
        events = answers.completion_chunks(body, call.id, text, report)

        async def chunks() -> AsyncIterator[bytes]:
            for chunk in events:
                yield chunk

        return StreamingResponse(chunks(), 200, media_type="text/event-stream")


def _failed(call: Call, error: Exception) -> ApiError:
    """What the client is told of an error that nobody thought of: where to look, and nothing of the inside."""
    log.error("%s failed", call.route, exc_info=error, extra={"request_id": call.id})
    message = f"the gateway failed on this request; its log says why under request id {call.id}"
    return ApiError(500, "server_error", message, code="internal_error")


def _milvus(config: RagConfig) -> Retriever:
    # Here and not above: without an index a gateway does without pymilvus, and is light.
    from hearth_gateway.milvus import MilvusRetriever

    return MilvusRetriever(config)


def _judged(rag: Rag, found: Retrieved, answer: dict[str, Any]) -> dict[str, Any]:
    message = answer["choices"][0]["message"]
    message["content"], answer["hearth"] = rag.judge(found, message.get("content"))
    return answer


def _passed_on(answer: httpx.Response | Streamed) -> dict[str, str]:
    return {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}

"""Stands between a client and an API server and writes down which rights each request needed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web
from hearth.kube.credentials import load

NAMED = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<subresource>[a-z]+))?)?$"
)


@dataclass(frozen=True, order=True)
class Use:
    """One right that a request needed: RBAC's words."""

    group: str
    resource: str
    verb: str


@dataclass
class Recording:
    """What went through, and what was refused."""

    url: str = ""
    uses: set[Use] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    writes: list[str] = field(default_factory=list)
    """Requests that changed something, but for the Lease's renewals."""

    def note(self, method: str, path: str, query: str, status: int) -> None:
        match = NAMED.match(path)
        if match is None:
            return
        if status == 403:
            self.forbidden.add(f"{method} {path}")
            return
        if method != "GET" and match["resource"] not in {"leases", "tokenreviews"}:
            self.writes.append(f"{method} {path} {status}")
        resource = "/".join(part for part in (match["resource"], match["subresource"]) if part)
        for verb in _verbs(method, match["name"], "watch=" in query, status):
            self.uses.add(Use(match["group"] or "", resource, verb))


def _verbs(method: str, name: str | None, watching: bool, status: int) -> list[str]:
    if method == "GET":
        return ["get" if name else "watch" if watching else "list"]
    if method == "PATCH":
        # A server-side apply that creates its object needs both.
        return ["patch", "create"] if status == 201 else ["patch"]
    return [{"POST": "create", "PUT": "update", "DELETE": "delete" if name else "deletecollection"}[method]]


@asynccontextmanager
async def recording(kubeconfig: Path) -> AsyncIterator[Recording]:
    """A proxy on loopback in front of the kubeconfig's API server; callers bring their own token."""
    credentials = load(kubeconfig)
    record = Recording()
    # Without the administrator's certificate: whoever calls is who their token says.
    credentials.certificate = credentials.key = None
    connector = aiohttp.TCPConnector(limit=0, ssl=credentials.ssl_context())
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = {
                key: value for key, value in request.headers.items() if key.lower() not in {"host", "connection"}
            }
            url = credentials.server + request.raw_path
            timeout = aiohttp.ClientTimeout(total=None)
            body = await request.read() or None
            async with session.request(request.method, url, headers=headers, data=body, timeout=timeout) as upstream:
                record.note(request.method, request.path, request.query_string, upstream.status)
                dropped = {"content-length", "transfer-encoding", "connection"}
                kept = {key: value for key, value in upstream.headers.items() if key.lower() not in dropped}
                answer = web.StreamResponse(status=upstream.status, headers=kept)
                await answer.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await answer.write(chunk)
                await answer.write_eof()
                return answer

        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        record.url = f"http://127.0.0.1:{port}"
        try:
            yield record
        finally:
            await runner.cleanup()


def token_kubeconfig(url: str, token: str, path: Path) -> Path:
    """A kubeconfig for one account behind the proxy."""
    named = "operator"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": named, "cluster": {"server": url}}],
        "users": [{"name": named, "user": {"token": token}}],
        "contexts": [{"name": named, "context": {"cluster": named, "user": named}}],
        "current-context": named,
    }
    path.write_text(yaml.safe_dump(config))
    return path

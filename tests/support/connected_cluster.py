"""A cluster that tests look at over a kept connection.

They look several times a second, and kubectl is a program of 60 MB that starts anew for each look. What is asked for in
a way that is not understood here, and whatever does not succeed at once, is left to kubectl and its words.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from hearth.kube.credentials import load
from hearth_cluster.cluster import Cluster

Json = dict[str, Any]
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
APPLY = "?fieldManager=kubectl&force=true&fieldValidation=Strict"


class NotUnderstoodError(Exception):
    """Kubectl knows what to do."""


class Resource(NamedTuple):
    """What the API server serves under a name."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    words: frozenset[str]
    """What kubectl takes for it."""

    def path(self, namespace: str, name: str = "") -> str:
        """Of the collection, or of one object."""
        root = "/apis" if "/" in self.api_version else "/api"
        within = ["namespaces", namespace] if self.namespaced else []
        return "/".join([root, self.api_version, *within, self.plural, *([quote(name)] if name else [])])


class Wanted(NamedTuple):
    """The arguments of `kubectl get`."""

    kinds: list[str]
    names: list[str]
    namespace: str
    labels: str


def understood(arguments: Sequence[str]) -> Wanted:
    """Reads them.

    Raises NotUnderstoodError where there are others than a namespace, labels, kinds and names.
    """
    words, options, rest = [], {"-n": "default", "-l": ""}, iter(arguments)
    for word in rest:
        if word in options:
            options[word] = next(rest, "")
        elif word.startswith("-") or "/" in word:
            raise NotUnderstoodError(word)
        else:
            words.append(word)
    if not words:
        raise NotUnderstoodError("no kind")
    return Wanted(words[0].split(","), words[1:], options["-n"], options["-l"])


class Connection:
    """To one API server, for one thread."""

    def __init__(self, cluster: Cluster) -> None:
        credentials = load(cluster.kubeconfig)
        url = urlsplit(credentials.server)
        self._http = http.client.HTTPSConnection(
            url.hostname or "", url.port, context=credentials.ssl_context(), timeout=30
        )
        token = credentials.token()
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def send(self, method: str, path: str, body: Json | None = None, **headers: str) -> tuple[int, Json]:
        """The status and the body of the answer. Raises OSError or HTTPException where none comes."""
        payload = None if body is None else json.dumps(body)
        try:
            self._http.request(method, path, payload, {**self._headers, **headers})
            answer = self._http.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self._http.close()  # the next request opens another
            raise

    def ask(self, method: str, path: str, body: Json | None = None, **headers: str) -> Json:
        """What a successful answer holds.

        Raises NotUnderstoodError where the answer is another, or none comes.
        """
        try:
            status, answer = self.send(method, path, body, **headers)
        except (OSError, http.client.HTTPException) as error:
            raise NotUnderstoodError(str(error)) from error
        if status not in (200, 201):
            raise NotUnderstoodError(f"{path}: {status}")
        return answer

    def resources(self) -> Iterator[Resource]:
        """What there is, core first, as kubectl prefers it."""
        for root in ("/api", "/apis"):
            for group in self.ask("GET", root, Accept=DISCOVERY)["items"]:
                name = group["metadata"].get("name", "")
                for version in group["versions"]:
                    for resource in version.get("resources", ()):
                        yield _resource(name, version["version"], resource)


def _resource(group: str, version: str, served: Json) -> Resource:
    kind, plural = served["responseKind"]["kind"], served["resource"]
    words = {plural, served["singularResource"], kind.lower(), *served.get("shortNames", ()), f"{plural}.{group}"}
    api_version = f"{group}/{version}" if group else version
    return Resource(api_version, kind, plural, served["scope"] == "Namespaced", frozenset(words))


@dataclass(frozen=True)
class ConnectedCluster(Cluster):
    """As `Cluster`, but quick to look at."""

    _threads: threading.local = field(default_factory=threading.local, init=False, repr=False, compare=False)

    @cached_property
    def _known(self) -> list[Resource]:
        return []

    @property
    def _connection(self) -> Connection:
        if not hasattr(self._threads, "connection"):
            self._threads.connection = Connection(self)
        found: Connection = self._threads.connection
        return found

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get … -o json`."""
        try:
            return self._look(understood(arguments))
        except NotUnderstoodError:
            return super().get(*arguments)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Server-side apply of some objects."""
        for obj in objects:
            try:
                self._apply(obj)
            except NotUnderstoodError:
                super().apply(obj)

    def _look(self, wanted: Wanted) -> Json:
        resources = [self._find(lambda r, word=word: word.lower() in r.words) for word in wanted.kinds]
        if len(resources) == len(wanted.names) == 1:
            return _shown(self._connection.ask("GET", resources[0].path(wanted.namespace, wanted.names[0])))
        if wanted.names:
            raise NotUnderstoodError("several objects by name")
        query = f"?labelSelector={quote(wanted.labels)}" if wanted.labels else ""
        items = []
        for resource in resources:
            found = self._connection.ask("GET", resource.path(wanted.namespace) + query)["items"]
            items += [_shown({"apiVersion": resource.api_version, "kind": resource.kind, **item}) for item in found]
        return {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}

    def _apply(self, obj: Json) -> None:
        meta = obj["metadata"]
        resource = self._find(lambda r: (r.api_version, r.kind) == (obj["apiVersion"], obj["kind"]))
        path = resource.path(meta.get("namespace", "default"), meta["name"]) + APPLY
        self._connection.ask("PATCH", path, obj, **{"Content-Type": "application/apply-patch+yaml"})

    def _find(self, fits: Callable[[Resource], bool]) -> Resource:
        found = next(filter(fits, self._known), None)
        if found is None:  # a definition may have come since
            self._known[:] = self._connection.resources()
            found = next(filter(fits, self._known), None)
        if found is None:
            raise NotUnderstoodError("no such resource")
        return found


def _shown(obj: Json) -> Json:
    """Without what kubectl shows only when asked to."""
    obj["metadata"].pop("managedFields", None)
    return obj

"""What is asked of a registry, shown against a server that speaks the distribution API."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from hearth_cluster.errors import ClusterError
from hearth_cluster.image_registry import Registry

MANIFEST = json.dumps({"config": {"size": 10}, "layers": [{"size": 200}, {"size": 3000}]}).encode()
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"


class Handler(BaseHTTPRequestHandler):
    """Holds manifests by path; the path `broken` is answered with 500."""

    held: dict[str, tuple[bytes, str]]

    def do_GET(self) -> None:
        if "broken" in self.path:
            self.send_error(500)
        elif self.path in self.held:
            body, media_type = self.held[self.path]
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(body).hexdigest()}")
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_error(404)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.held[self.path] = (body, self.headers["Content-Type"])
        self.send_response(201)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    Handler.held = {"/v2/hearth/gateway/manifests/abc": (MANIFEST, MEDIA_TYPE)}
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Registry(f"127.0.0.1:{server.server_port}")
        server.shutdown()


def test_an_image_is_found_with_its_digest_and_the_bytes_a_pull_transfers(registry: Registry) -> None:
    found = registry.find("hearth/gateway", "abc")
    assert found is not None
    assert (found.digest, found.size) == (f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}", 3210)


def test_an_image_that_is_not_there_is_none(registry: Registry) -> None:
    assert registry.find("hearth/gateway", "other") is None


def test_a_second_tag_is_the_same_image(registry: Registry) -> None:
    found = registry.find("hearth/gateway", "abc")
    assert found is not None
    registry.add_tag("hearth/gateway", "1", found)
    assert registry.find("hearth/gateway", "1") == found


def test_a_registry_that_fails_is_not_taken_for_one_without_the_image(registry: Registry) -> None:
    with pytest.raises(ClusterError, match="answered 500 for hearth/broken:abc"):
        registry.find("hearth/broken", "abc")


def test_no_registry_says_what_to_look_at() -> None:
    with pytest.raises(ClusterError, match=r"no registry answers at 127\.0\.0\.1:1 .*hearth-cluster status"):
        Registry("127.0.0.1:1").find("hearth/gateway", "abc")

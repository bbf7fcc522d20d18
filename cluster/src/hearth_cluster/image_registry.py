"""The little of the OCI distribution API that tells what a registry holds."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPMessage

from hearth_cluster.errors import ClusterError

_MANIFEST_TYPES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Manifest:
    """One image in a registry."""

    digest: str
    """`sha256:…` of the manifest: what a reference is pinned to."""
    size: int
    """Bytes of its layers and configuration as stored, compressed: what a first pull transfers."""
    media_type: str
    body: bytes


@dataclass(frozen=True)
class Registry:
    """A registry on this machine, reached over plain http."""

    address: str
    """`host:port`"""

    def find(self, repository: str, tag: str) -> Manifest | None:
        """The image `repository:tag`, or None where the registry has no such image.

        Raises:
            ClusterError: the registry does not answer as one.
        """
        try:
            body, headers = self._request("GET", repository, tag)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise ClusterError(
                f"the registry at {self.address} answered {error.code} for {repository}:{tag}"
            ) from error
        content = json.loads(body)
        size = sum(part["size"] for part in [content["config"], *content["layers"]])
        return Manifest(headers["Docker-Content-Digest"], size, headers["Content-Type"], body)

    def add_tag(self, repository: str, tag: str, manifest: Manifest) -> None:
        """Gives an image that the registry holds one more tag."""
        self._request("PUT", repository, tag, manifest)

    def _request(
        self, method: str, repository: str, tag: str, content: Manifest | None = None
    ) -> tuple[bytes, HTTPMessage]:
        request = urllib.request.Request(
            f"http://{self.address}/v2/{repository}/manifests/{tag}",
            data=content.body if content else None,
            headers={"Content-Type": content.media_type} if content else {"Accept": ", ".join(_MANIFEST_TYPES)},
            method=method,
        )
        # No proxy: the address is of this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return response.read(), response.headers
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            raise ClusterError(
                f"no registry answers at {self.address} ({error}); is the cluster up? hearth-cluster status"
            ) from error

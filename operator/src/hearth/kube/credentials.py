"""Where the API server is and how to prove who asks: from a kubeconfig, or from the pod's service account.

A token file is read again every minute, because the kubelet rotates it (projected tokens, an hour by default). A
credential plugin is asked again when its token ends: it may ask a cloud, and take seconds.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hearth.api.base import Json
from hearth.kube.errors import ConnectionFailedError
from hearth.kube.kubeconfig import Entry, Kubeconfig, KubeconfigError, paths_of, read

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_AGE = 60.0
"""Seconds after which a token is read anew; client-go uses the same."""


class Token(NamedTuple):
    """A bearer token, and for how many seconds it need not be read anew."""

    value: str
    lasts: float


class CredentialsError(Exception):
    """No usable credentials; the message says where they were looked for and what to do."""


@dataclass(slots=True)
class Credentials:
    """One cluster and one identity."""

    server: str
    namespace: str = "default"
    ca_file: str | None = None
    ca_data: bytes | None = None
    verify: bool = True
    server_name: str | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    token_source: Callable[[], Token] | None = None
    in_cluster: bool = False
    slow: bool = False
    """Whether the token comes from a credential plugin, which may ask a cloud for it."""
    _token: Token | None = field(default=None, repr=False)
    _read_at: float = 0.0

    def token(self) -> str | None:
        """The bearer token of now, or None where a certificate or nothing identifies the caller."""
        if self.token_source is None:
            return None
        if not self._is_fresh():
            self._token, self._read_at = self.token_source(), time.monotonic()
        return self._token.value if self._token else None

    def _is_fresh(self) -> bool:
        return self._token is not None and time.monotonic() - self._read_at <= self._token.lasts

    async def bearer(self) -> str | None:
        """`token`, read beside the event loop where it takes a program to get it.

        Raises ConnectionFailedError where the program fails: it may work the next time.
        """
        if not self.slow or self._is_fresh():
            return self.token()
        try:
            return await asyncio.to_thread(self.token)
        except CredentialsError as error:
            raise ConnectionFailedError(str(error)) from error

    def forget_token(self) -> None:
        """Makes the next `token()` read it anew: called after a 401."""
        self._token = None

    def ssl_context(self) -> ssl.SSLContext:
        """A TLS context that trusts the cluster's authority and presents the client certificate, if any.

        Raises CredentialsError where one of them is none.
        """
        try:
            return self._ssl_context()
        except (ssl.SSLError, ValueError) as error:
            raise CredentialsError(f"a certificate or key for {self.server} cannot be used: {error}") from error

    def _ssl_context(self) -> ssl.SSLContext:
        cadata = self.ca_data.decode() if self.ca_data else None
        context = ssl.create_default_context(cafile=self.ca_file, cadata=cadata)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate and self.key:
            with ExitStack() as stack:
                # The ssl module loads certificates from files only.
                chain = stack.enter_context(tempfile.NamedTemporaryFile())
                key = stack.enter_context(tempfile.NamedTemporaryFile())
                chain.write(self.certificate)
                key.write(self.key)
                chain.flush()
                key.flush()
                context.load_cert_chain(chain.name, key.name)
        return context


def load(kubeconfig: Path | None = None, context: str | None = None) -> Credentials:
    """Credentials from `kubeconfig`, else KUBECONFIG, else the pod's service account, else ~/.kube/config."""
    named = (kubeconfig,) if kubeconfig is not None else paths_of(os.environ.get("KUBECONFIG", ""))
    if not named and "KUBERNETES_SERVICE_HOST" in os.environ and (SERVICE_ACCOUNT / "token").exists():
        return from_service_account(os.environ)
    paths = named or (Path.home() / ".kube" / "config",)
    # As for kubectl, not every file of KUBECONFIG has to be there.
    found = [path for path in paths if path.exists()]
    if not found:
        raise CredentialsError(
            f"found no kubeconfig at {os.pathsep.join(map(str, paths))} and no service account of a pod; "
            "pass --kubeconfig FILE or set KUBECONFIG"
        )
    return from_kubeconfig(*found, context=context)


def from_service_account(env: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Credentials:
    """The identity that the kubelet mounts into every pod that asks for it."""
    host, port = env["KUBERNETES_SERVICE_HOST"], env.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    return Credentials(
        server=f"https://{host}:{port}",
        namespace=(folder / "namespace").read_text().strip(),
        ca_file=str(folder / "ca.crt"),
        token_source=lambda: Token((folder / "token").read_text().strip(), TOKEN_AGE),
        in_cluster=True,
    )


def from_kubeconfig(*paths: Path, context: str | None = None) -> Credentials:
    """The named context of the kubeconfigs taken together, else their current one."""
    try:
        return _chosen(read(paths), context)
    except KubeconfigError as error:
        raise CredentialsError(str(error)) from error


def _chosen(config: Kubeconfig, context: str | None) -> Credentials:
    name = context or config.current_context
    if name is None:
        raise CredentialsError(f"{config} names no current-context; pass --context NAME")
    chosen = config.entry("contexts", name, "context").content
    cluster = config.entry("clusters", chosen.get("cluster"), "cluster")
    user = config.entry("users", chosen["user"], "user") if chosen.get("user") else Entry({}, cluster.file)
    server_name = cluster.content.get("tls-server-name")
    return Credentials(
        server=cluster.text("server").rstrip("/"),
        namespace=str(chosen.get("namespace") or "default"),
        ca_data=cluster.data("certificate-authority"),
        verify=not cluster.content.get("insecure-skip-tls-verify", False),
        server_name=str(server_name) if server_name else None,
        certificate=user.data("client-certificate"),
        key=user.data("client-key"),
        token_source=_token_source(user.content, user.file.parent),
        slow="exec" in user.content and not {"tokenFile", "token"} & user.content.keys(),
    )


def _token_source(user: Json, base: Path) -> Callable[[], Token] | None:
    if user.get("tokenFile"):
        file = base / str(user["tokenFile"])
        return lambda: Token(file.read_text().strip(), TOKEN_AGE)
    if user.get("token"):
        token = Token(str(user["token"]), math.inf)
        return lambda: token
    if user.get("exec"):
        command: Json = user["exec"]
        return lambda: _exec_token(command)
    return None


def _exec_token(command: Json) -> Token:
    """Runs a credential plugin (client.authentication.k8s.io), as the cloud providers' kubeconfigs ask.

    Its token is kept until it expires, and without an expiry until the server refuses it, as client-go does.
    """
    try:
        argv = [str(command["command"]), *(command.get("args") or [])]
        env = {**os.environ, **{e["name"]: e["value"] for e in command.get("env") or []}}
        info = {"apiVersion": command["apiVersion"], "kind": "ExecCredential", "spec": {"interactive": False}}
    except (KeyError, TypeError) as error:
        raise CredentialsError(f"the kubeconfig's exec is no credential plugin: {error} is missing or wrong") from error
    env["KUBERNETES_EXEC_INFO"] = json.dumps(info)
    try:
        done = subprocess.run(argv, env=env, capture_output=True, check=True, timeout=60)
        status: Any = json.loads(done.stdout)["status"]
        if "token" not in status and "clientCertificateData" in status:
            raise CredentialsError(f"credential plugin {argv[0]} gave a client certificate: only tokens are understood")
        return Token(str(status["token"]), _seconds_until(status.get("expirationTimestamp")))
    except KeyError as error:
        raise CredentialsError(f"credential plugin {argv[0]} gave no token: its answer has no {error}") from error
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        raise CredentialsError(f"credential plugin {argv[0]} gave no token: {error}") from error


def _seconds_until(moment: str | None) -> float:
    if moment is None:
        return math.inf
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()

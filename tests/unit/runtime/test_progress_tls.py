"""The certificate of the progress endpoint."""

import asyncio
import base64
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from fake_api import FakeApi
from hearth.kube.resources import SECRET
from hearth.plan.world import ObjectKey
from hearth.runtime.progress_endpoint import endpoint_slice, names_of, service_of
from hearth.runtime.progress_tls import damage, obtain, renewed
from widget import SETTINGS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("hearth-progress.hearth-system.svc",)


def test_clients_that_trust_the_authority_trust_the_endpoint_under_its_name() -> None:
    keys = renewed(None, NAMES, datetime.now(UTC))
    client = ssl.create_default_context(cadata=keys.ca.decode())
    incoming, outgoing, back, forth = (ssl.MemoryBIO() for _ in range(4))
    server_side = keys.ssl_context().wrap_bio(incoming, outgoing, server_side=True)
    client_side = client.wrap_bio(back, forth, server_hostname=NAMES[0])
    done: set[str] = set()
    for _ in range(10):
        for name, side, source, target in (
            ("client", client_side, forth, incoming),
            ("server", server_side, outgoing, back),
        ):
            try:
                side.do_handshake()
                done.add(name)
            except ssl.SSLWantReadError:
                pass
            target.write(source.read())
    assert done == {"client", "server"}


def test_keys_that_serve_are_kept() -> None:
    keys = renewed(None, NAMES, NOW)
    assert renewed(keys, NAMES, NOW + timedelta(days=200)) is keys


def test_a_certificate_near_its_end_is_renewed_under_the_same_authority() -> None:
    keys = renewed(None, NAMES, NOW)
    later = renewed(keys, NAMES, NOW + timedelta(days=300))
    assert later.certificate != keys.certificate
    assert later.ca == keys.ca, "running pods still trust it"


def test_another_name_needs_another_certificate() -> None:
    keys = renewed(None, NAMES, NOW)
    other = renewed(keys, ("elsewhere.svc",), NOW)
    san = x509.load_pem_x509_certificate(other.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert san.value.get_values_for_type(x509.DNSName) == ["elsewhere.svc"]
    assert other.ca == keys.ca


def test_an_authority_near_its_end_is_replaced() -> None:
    keys = renewed(None, NAMES, NOW)
    assert renewed(keys, NAMES, NOW + timedelta(days=3500)).ca != keys.ca


async def test_the_next_leader_finds_the_keys_in_the_secret() -> None:
    api = FakeApi()
    first = await obtain(api, "hearth-system", NAMES, NOW)
    assert await obtain(api, "hearth-system", NAMES, NOW) == first
    assert [verb for verb, _ in api.writes] == ["apply"]


async def test_a_secret_without_keys_is_filled() -> None:
    api = FakeApi()
    empty = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hearth-progress-tls", "namespace": "ns"}}
    api.put(empty)
    keys = await obtain(api, "ns", NAMES, NOW)
    assert keys.ca.startswith(b"-----BEGIN CERTIFICATE")
    assert set((await api.get(SECRET, "ns", "hearth-progress-tls"))["data"]) == {
        "ca.crt",
        "ca.key",
        "tls.crt",
        "tls.key",
    }


OTHER = renewed(None, NAMES, NOW)
"""Keys of somebody else, each well made."""


@pytest.mark.parametrize(
    ("damaged", "told", "authority_is_kept"),
    [
        ({"certificate": b"garbage"}, "tls.crt and tls.key", True),
        ({"certificate": b""}, "tls.crt and tls.key", True),
        ({"key": b"garbage"}, "tls.crt and tls.key", True),
        ({"key": OTHER.key}, "tls.crt and tls.key", True),
        ({"certificate": OTHER.certificate, "key": OTHER.key}, "tls.crt is not signed by ca.crt", True),
        ({"ca": b"garbage"}, "ca.crt and ca.key", False),
        ({"ca_key": b"garbage"}, "ca.crt and ca.key", False),
        ({"ca_key": b""}, "ca.crt and ca.key", False),
        ({"ca_key": OTHER.ca_key}, "ca.crt and ca.key", False),
        ({"ca": OTHER.ca, "ca_key": OTHER.ca_key}, "tls.crt is not signed by ca.crt", False),
    ],
)
async def test_a_damaged_secret_is_told_by_name_and_written_anew_with_its_authority_if_that_is_whole(
    caplog: pytest.LogCaptureFixture, damaged: dict[str, bytes], told: str, authority_is_kept: bool
) -> None:
    api = FakeApi()
    whole = await obtain(api, "ns", NAMES, NOW)
    broken = replace(whole, **damaged)
    fields = {"ca.crt": broken.ca, "ca.key": broken.ca_key, "tls.crt": broken.certificate, "tls.key": broken.key}
    encoded = {name: base64.b64encode(value).decode() for name, value in fields.items()}
    api.edit(ObjectKey("Secret", "ns", "hearth-progress-tls"), lambda secret: secret["data"].update(encoded))
    mended = await obtain(api, "ns", NAMES, NOW)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warning.startswith(f"the Secret ns/hearth-progress-tls is damaged and is written anew: {told}")
    assert damage(mended) is None
    assert (mended.ca == whole.ca) == authority_is_kept
    assert await obtain(api, "ns", NAMES, NOW) == mended


async def test_a_new_certificate_is_presented_without_a_restart() -> None:
    old = renewed(None, NAMES, NOW)
    new = renewed(old, ("other.svc",), NOW)
    context = old.ssl_context()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    trust = ssl.create_default_context(cadata=old.ca.decode())
    trust.check_hostname = False

    async def presented() -> bytes:
        _, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1], ssl=trust)
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return certificate

    first = await presented()
    new.load_into(context)
    assert await presented() != first
    server.close()


def test_the_service_and_its_names_come_from_the_url_that_pods_are_given() -> None:
    settings = SETTINGS.model_copy(
        update={"namespace": "ops", "progress_url": "https://my-progress.ops.svc:9443", "cluster_domain": "corp.local"}
    )
    assert service_of(settings) == ("my-progress", 9443)
    assert names_of(settings) == ("my-progress.ops.svc", "my-progress.ops.svc.corp.local")


def test_the_leader_is_the_only_endpoint() -> None:
    slice_ = endpoint_slice("ops", "my-progress", "fd00::7", 9443)
    assert slice_["addressType"] == "IPv6"
    assert slice_["metadata"]["labels"]["kubernetes.io/service-name"] == "my-progress"
    assert slice_["endpoints"] == [{"addresses": ["fd00::7"], "conditions": {"ready": True}}]

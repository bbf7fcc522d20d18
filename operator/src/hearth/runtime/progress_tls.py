"""The certificate of the progress endpoint: an authority of our own, kept in a Secret of the operator's namespace.

Training pods trust this authority and no other for their progress messages. It lasts ten years, so that its rotation
does not change the pods' configuration; the endpoint's certificate lasts one and is renewed when less than a third of
it is left.
"""

from __future__ import annotations

import base64
import logging
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hearth.api.base import Json
from hearth.kube.api import Api
from hearth.kube.errors import NotFoundError
from hearth.kube.rbac import PROGRESS_SECRET
from hearth.kube.resources import SECRET

log = logging.getLogger(__name__)

AUTHORITY_LASTS = timedelta(days=3650)
CERTIFICATE_LASTS = timedelta(days=365)
RENEW_BEFORE = CERTIFICATE_LASTS / 3
MANAGER = "hearth/operator"
_FIELDS = ("ca.crt", "ca.key", "tls.crt", "tls.key")


@dataclass(frozen=True, slots=True)
class Keys:
    """PEM of the authority and of the endpoint's certificate, each with its key."""

    ca: bytes
    ca_key: bytes
    certificate: bytes
    key: bytes

    def ssl_context(self) -> ssl.SSLContext:
        """For the server side."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Presents the certificate to whoever connects from now on."""
        with tempfile.NamedTemporaryFile() as chain, tempfile.NamedTemporaryFile() as key:
            # The ssl module loads certificates from files only.
            chain.write(self.certificate)
            key.write(self.key)
            chain.flush()
            key.flush()
            context.load_cert_chain(chain.name, key.name)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A certificate and the key that it is about."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> tuple[bytes, bytes]:
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        key = self.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
        return self.certificate.public_bytes(encoding), key


async def obtain(api: Api, namespace: str, names: tuple[str, ...], now: datetime) -> Keys:
    """The keys in the Secret, after making or renewing what is missing, damaged, outdated or for other names."""
    try:
        stored = _decode(await api.get(SECRET, namespace, PROGRESS_SECRET))
    except NotFoundError:
        stored = None
    found = damage(stored) if stored is not None else None
    if found is not None:
        log.warning("the Secret %s/%s is damaged and is written anew: %s", namespace, PROGRESS_SECRET, found)
    keys = renewed(stored, names, now)
    if keys is not stored:
        log.info("writing the Secret %s with a new certificate for %s", PROGRESS_SECRET, ", ".join(names))
        await api.apply(SECRET, _encode(keys, namespace), MANAGER)
    return keys


def renewed(keys: Keys | None, names: tuple[str, ...], now: datetime) -> Keys:
    """The same keys where they still serve, else new ones; the authority is kept as long as it is whole and lasts."""
    authority = None if keys is None else _pair(keys.ca, keys.ca_key)
    if keys is not None and authority is not None and _serves(keys, authority, names, now):
        return keys
    if keys is None or authority is None or _left(authority, now) <= CERTIFICATE_LASTS:
        authority = _authority(now)
        return Keys(*authority.pem(), *_issue(authority, names, now).pem())
    return Keys(keys.ca, keys.ca_key, *_issue(authority, names, now).pem())


def damage(keys: Keys) -> str | None:
    """What of the keys is of no use, whatever the time and the names; None if they are whole."""
    authority, endpoint = _pair(keys.ca, keys.ca_key), _pair(keys.certificate, keys.key)
    if authority is None:
        return "ca.crt and ca.key are not a certificate and its elliptic-curve key"
    if endpoint is None:
        return "tls.crt and tls.key are not a certificate and its elliptic-curve key"
    return None if _issued(endpoint, authority) else "tls.crt is not signed by ca.crt"


def _pair(certificate_pem: bytes, key_pem: bytes) -> _Pair | None:
    """Both as they are stored; None where one cannot be read or they do not belong together."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, None)
        belongs = certificate.public_key() == key.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return _Pair(certificate, key) if belongs and isinstance(key, ec.EllipticCurvePrivateKey) else None


def _issued(endpoint: _Pair, authority: _Pair) -> bool:
    try:
        endpoint.certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _serves(keys: Keys, authority: _Pair, names: tuple[str, ...], now: datetime) -> bool:
    endpoint = _pair(keys.certificate, keys.key)
    if endpoint is None or not _issued(endpoint, authority):
        return False
    last = min(_left(endpoint, now), _left(authority, now)) > RENEW_BEFORE
    return last and set(names) <= _names(endpoint.certificate)


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound):
        return set()
    return set(san.value.get_values_for_type(x509.DNSName))


def _left(pair: _Pair, now: datetime) -> timedelta:
    return pair.certificate.not_valid_after_utc - now


def _authority(now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hearth-progress-ca")])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _builder(name, name, key.public_key(), now, AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _Pair(builder.sign(key, hashes.SHA256()), key)


def _issue(authority: _Pair, names: tuple[str, ...], now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hearth-progress")])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        _builder(subject, authority.certificate.subject, key.public_key(), now, CERTIFICATE_LASTS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
    )
    return _Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    # An hour of grace for pods whose clocks are behind.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + lasts)
    )


def _decode(secret: Json) -> Keys | None:
    """None where the Secret holds nothing of the kind; what is missing beside other keys is empty."""
    data = secret.get("data") or {}
    if not any(data.get(name) for name in _FIELDS):
        return None
    return Keys(*(base64.b64decode(data.get(name) or "") for name in _FIELDS))


def _encode(keys: Keys, namespace: str) -> Json:
    values = (keys.ca, keys.ca_key, keys.certificate, keys.key)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": PROGRESS_SECRET, "namespace": namespace},
        "type": "Opaque",
        "data": {name: base64.b64encode(value).decode() for name, value in zip(_FIELDS, values, strict=True)},
    }


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)

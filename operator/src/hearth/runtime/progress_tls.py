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


async def obtain(api: Api, namespace: str, names: tuple[str, ...], now: datetime) -> Keys:
    """The keys in the Secret, after making or renewing what is missing, outdated or for other names."""
    try:
        stored = _decode(await api.get(SECRET, namespace, PROGRESS_SECRET))
    except NotFoundError:
        stored = None
    keys = renewed(stored, names, now)
    if keys is not stored:
        log.info("writing the Secret %s with a new certificate for %s", PROGRESS_SECRET, ", ".join(names))
        await api.apply(SECRET, _encode(keys, namespace), MANAGER)
    return keys


def renewed(keys: Keys | None, names: tuple[str, ...], now: datetime) -> Keys:
    """The same keys where they still serve, else new ones; the authority is kept as long as it lasts."""
    if keys is not None and _serves(keys, names, now):
        return keys
    if keys is not None and _until(keys.ca) - now > CERTIFICATE_LASTS:
        ca, ca_key = keys.ca, keys.ca_key
    else:
        ca, ca_key = _authority(now)
    certificate, key = _issue(ca, ca_key, names, now)
    return Keys(ca, ca_key, certificate, key)


def _serves(keys: Keys, names: tuple[str, ...], now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(keys.certificate)
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    has_names = set(names) <= set(san.value.get_values_for_type(x509.DNSName))
    return has_names and _until(keys.certificate) - now > RENEW_BEFORE and _until(keys.ca) - now > RENEW_BEFORE


def _until(pem: bytes) -> datetime:
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


def _authority(now: datetime) -> tuple[bytes, bytes]:
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
    return _pem(builder.sign(key, hashes.SHA256())), _key_pem(key)


def _issue(ca: bytes, ca_key: bytes, names: tuple[str, ...], now: datetime) -> tuple[bytes, bytes]:
    authority = x509.load_pem_x509_certificate(ca)
    signer = serialization.load_pem_private_key(ca_key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{PROGRESS_SECRET}: ca.key is not an elliptic-curve key; delete the Secret to start anew")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hearth-progress")])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = (
        _builder(subject, authority.subject, key.public_key(), now, CERTIFICATE_LASTS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
    )
    return _pem(builder.sign(signer, hashes.SHA256())), _key_pem(key)


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


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _decode(secret: Json) -> Keys | None:
    data = secret.get("data") or {}
    if not all(data.get(name) for name in _FIELDS):
        return None
    return Keys(*(base64.b64decode(str(data[name])) for name in _FIELDS))


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

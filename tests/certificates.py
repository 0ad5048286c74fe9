"""Certificates of every kind, valid and odd. Each key is made once per process."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from decnet_syslog.trust._bundles import Bundle

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


@cache
def key(which: str) -> ec.EllipticCurvePrivateKey:
    """The key for a purpose, always the same one."""
    return ec.generate_private_key(ec.SECP256R1())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def certificate(
    names: list[str],
    *,
    ca: str = "ca",
    holder: str = "holder",
    usages: tuple[Any, ...] = (CLIENT,),
    alternatives: tuple[str, ...] = (),
    authority: bool = False,
    days: tuple[float, float] = (-1, 30),
) -> x509.Certificate:
    """Make a certificate. It is self-signed if C{holder} and C{ca} are the same."""
    now = datetime.now(timezone.utc)
    issuer = [x509.NameAttribute(NameOID.COMMON_NAME, f"test {ca}")]
    subject = [
        x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False) for name in names
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(issuer if holder == ca else subject))
        .issuer_name(x509.Name(issuer))
        .public_key(key(holder).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if alternatives:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(list(map(_alternative, alternatives))),
            critical=False,
        )
    return builder.sign(key(ca), SHA256())


@cache
def authority(ca: str = "ca") -> x509.Certificate:
    """The certificate of a CA."""
    return certificate([], ca=ca, holder=ca, usages=(), authority=True, days=(-10, 100))


def bundle(
    cert: x509.Certificate, trusted: str = "ca", holder: str = "holder"
) -> Bundle:
    """A bundle that exists only in memory."""
    return Bundle(Path("/nowhere"), cert, (), key(holder), (authority(trusted),))


def worker(name: str = "w1", **options: Any) -> Bundle:
    """The bundle of a worker."""
    return bundle(certificate([name], **options))


def master(**options: Any) -> Bundle:
    """The bundle of the master."""
    options = {"usages": (SERVER,), "alternatives": ("decnet-master",), **options}
    return bundle(certificate(["decnet-master"], **options))

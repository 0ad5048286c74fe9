"""
L{decnet_syslog.trust._names}: any certificate has exactly one usable name, or is
refused.

The input is either a mutated certificate, or a certificate with arbitrary RDNs as
subject.
"""

from __future__ import annotations

import warnings

from cryptography import x509

from decnet_syslog.trust._names import (
    NAME_CHARACTERS_MAX,
    NameRefused,
    fingerprint,
    peerName,
)
from decnet_syslog.trust._roles import refuseMaster, refuseOperator, refuseWorker
from decnet_syslog.untrusted import escapeUntrusted

from .. import der
from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

OCTETS_MAX = 2048
OPAQUE = True

# commonName, organizationName, countryName, dnQualifier, domainComponent.
_OIDS = (
    *(b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x04\x06", b"\x55\x04\x2e"),
    bytes.fromhex("0992268993f22c640119"),
)

# UTF8String, PrintableString, TeletexString, IA5String, BMPString, UniversalString,
# VisibleString, NumericString, BIT STRING, OCTET STRING, INTEGER, SEQUENCE, NULL.
_TAGS = (0x0C, 0x13, 0x14, 0x16, 0x1E, 0x1C, 0x1A, 0x12, 0x03, 0x04, 0x02, 0x30, 0x05)

_COMMON_NAME = b"\x55\x04\x03"

WORDS = (
    *(b"\x55\x04\x03", b"\x0c", b"\x13", b"\x1e", b"decky-01", b"../", b"\0", b"\n"),
    *(b"\x30\x80", b"\x31", b"\x06\x03\x55\x04\x03", b"\xff\xff", b"\xc3\x28", b"\x85"),
)

_RDN = der.attribute(b"\x55\x04\x03", 0x0C, b"decky-01")

SEEDS = (
    b"\0\0\0\x08decky-01",
    b"\0\0\4\x08\0d\0e\0c\0k",
    b"\0\0\0\x02\xc3\x28\0\0\x02w2",
    b"\1" + _RDN,
    b"\1" + _RDN + _RDN,
    b"\2\0\x40\0\0",
    b"\3" + der.certificate(_RDN),
)


def _octets(source: Source) -> bytes:
    kind = source.below(4)
    if kind == 0:
        subject = b""
        while source.left:
            oid, tag = source.choose(_OIDS), source.choose(_TAGS)
            subject += der.attribute(oid, tag, source.some())
        return der.certificate(subject)
    if kind == 1:
        return der.certificate(source.rest())
    return source.edit(der.certificate(_RDN)) if kind == 2 else source.rest()


def run(octets: bytes) -> None:
    """The way the certificate is made, and its content."""
    octets = _octets(Source(octets))
    with warnings.catch_warnings():
        # The library also warns about odd certificates.
        warnings.simplefilter("ignore")
        try:
            certificate = x509.load_der_x509_certificate(octets)
        except (ValueError, x509.InvalidVersion):
            return
        assert len(fingerprint(certificate)) == len("sha-256:") + 32 * 3 - 1
        for reason in (
            refuseWorker(certificate),
            refuseOperator(certificate),
            refuseMaster(certificate, "decnet-master"),
        ):
            # An exception there also refuses the certificate, but without a log entry.
            assert reason is None or reason.isprintable(), reason
        try:
            name = peerName(certificate)
        except NameRefused as refused:
            shown = str(refused)
            assert shown.isascii() and shown.isprintable() and len(shown) < 5000, shown
            return
    # Compare the octets, independently of the library.
    subject = certificate.subject.public_bytes()
    assert der.oids(subject).count(_COMMON_NAME) == 1, subject
    assert 0 < len(name) <= NAME_CHARACTERS_MAX and name.isascii()
    assert name[0].isalnum() and "/" not in name and name.isprintable()
    assert escapeUntrusted(name) == f"'{name}'"

"""L{decnet_syslog.trust.bundles}: three files of any octets are a bundle, or the user's error."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from decnet_syslog.errors import UserError
from decnet_syslog.trust.bundles import Bundle

from .. import der
from ..scratch import directory
from ..source import Source

__all__ = ["OCTETS_MAX", "SEEDS", "WORDS", "run"]

OCTETS_MAX = 4096

_FILES = ("ca.crt", "worker.crt", "worker.key")
_LABELS = (
    *("CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "PUBLIC KEY"),
    *("ENCRYPTED PRIVATE KEY", "X509 CRL", "TRUSTED CERTIFICATE"),
)

_RDN = der.attribute(b"\x55\x04\x03", 0x0C, b"decky-01")


@cache
def _good() -> dict[str, bytes]:
    """A bundle that is one."""
    return {
        "ca.crt": der.pem("CERTIFICATE", der.authority().public_bytes(Encoding.DER)),
        "worker.crt": der.pem("CERTIFICATE", der.certificate(_RDN)),
        "worker.key": der.pem("PRIVATE KEY", der.keyOf("worker")),
    }


WORDS = (
    *(b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n", b"\x30\x80"),
    *(
        b"-----BEGIN PRIVATE KEY-----\n",
        b"-----END PRIVATE KEY-----\n",
        b"\x55\x04\x03",
    ),
    # The algorithms that a key or a signature may say it has.
    *(bytes.fromhex(oid) for oid in ("06032b656e", "06032b656f", "06032b6570")),
    *(bytes.fromhex(oid) for oid in ("06092a864886f70d010101", "06072a8648ce3d0201")),
    *(bytes.fromhex(oid) for oid in ("06092a864886f70d01010b", "06072a8648ce380401")),
    *(bytes.fromhex(oid) for oid in ("06082a8648ce3d030107", "06052b81040022")),
    *(bytes.fromhex(oid) for oid in ("06082a8648ce3d040302", "06092a864886f70d01010a")),
    *(b"261123000000Z", b"20991231235959Z", b"\x18\x0f", b"Proc-Type: 4,ENCRYPTED\n"),
)

SEEDS = (
    # Which file, how it is made, and of what; then its PEM, or its DER.
    b"\0\0" + _good()["ca.crt"],
    b"\1\0" + _good()["worker.crt"],
    b"\2\0" + _good()["worker.key"],
    b"\0\1" + der.authority().public_bytes(Encoding.DER),
    b"\1\1" + der.certificate(_RDN),
    b"\2\2" + der.keyOf("worker"),
    b"\1\x09" + der.certificate(_RDN),
)


@cache
def _place() -> Path:
    place = directory() / "bundle"
    place.mkdir(mode=0o700)
    for name in _FILES:
        (place / name).write_bytes(b"")
        (place / name).chmod(0o600)
    return place


def run(octets: bytes) -> None:
    """Which of the three files is another, and what it has."""
    source = Source(octets)
    which = source.choose(_FILES)
    kind = source.octet()
    rest = source.rest()
    files = dict(_good())
    if kind:
        rest = der.pem(_LABELS[(kind - 1) % len(_LABELS)], rest)
        if kind > len(_LABELS):
            # Behind a good one: a chain, or what follows a key.
            rest = files[which] + rest
    files[which] = rest
    for name, content in files.items():
        (_place() / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            bundle = Bundle.load(_place(), der.BEGIN)
        except UserError as error:
            assert "\n" not in str(error), str(error)
            return
    assert bundle.authorities

"""
L{decnet_syslog.trust._bundles}: three files with any octets are a bundle, or an error
for the user.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from decnet_syslog.errors import UserError
from decnet_syslog.trust import Bundle

from .. import der
from ..scratch import directory
from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

OCTETS_MAX = 4096
OPAQUE = True

_FILES = ("ca.crt", "worker.crt", "worker.key")
_LABELS = (
    *("CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "PUBLIC KEY"),
    *("ENCRYPTED PRIVATE KEY", "X509 CRL", "TRUSTED CERTIFICATE"),
)

_RDN = der.attribute(b"\x55\x04\x03", 0x0C, b"decky-01")


@cache
def _good() -> dict[str, bytes]:
    """A valid bundle."""
    return {
        "ca.crt": der.pem("CERTIFICATE", der.authority().public_bytes(Encoding.DER)),
        "worker.crt": der.pem("CERTIFICATE", der.certificate(_RDN)),
        "worker.key": der.pem("PRIVATE KEY", der.keyOf("worker")),
    }


@cache
def _ders() -> dict[str, bytes]:
    """The bundle's files in DER."""
    return {
        "ca.crt": der.authority().public_bytes(Encoding.DER),
        "worker.crt": der.certificate(_RDN),
        "worker.key": der.keyOf("worker"),
    }


@cache
def _others() -> tuple[bytes, ...]:
    """Keys of other types, each in its own PEM format."""
    return (*_ders().values(), *der.otherKeys())


WORDS = (
    *(b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n", b"\x30\x80"),
    *(
        b"-----BEGIN PRIVATE KEY-----\n",
        b"-----END PRIVATE KEY-----\n",
        b"\x55\x04\x03",
    ),
    # Algorithms that a key or a signature may claim.
    *(bytes.fromhex(oid) for oid in ("06032b656e", "06032b656f", "06032b6570")),
    *(bytes.fromhex(oid) for oid in ("06092a864886f70d010101", "06072a8648ce3d0201")),
    *(bytes.fromhex(oid) for oid in ("06092a864886f70d01010b", "06072a8648ce380401")),
    *(bytes.fromhex(oid) for oid in ("06082a8648ce3d030107", "06052b81040022")),
    *(bytes.fromhex(oid) for oid in ("06082a8648ce3d040302", "06092a864886f70d01010a")),
    *(b"261123000000Z", b"20991231235959Z", b"\x18\x0f", b"Proc-Type: 4,ENCRYPTED\n"),
)

# Which file is changed, and how.
SEEDS = (
    *(bytes([which, kind]) for which in range(3) for kind in range(4)),
    b"\0\4" + _good()["ca.crt"],
    b"\1\4" + _good()["worker.crt"],
    b"\2\4" + _good()["worker.key"],
    b"\2\3\5\0\x10\0\x01",
    # An algorithm other than that of an elliptic curve key.
    b"\1\1\0\x60\0\x02",
    b"\2\1\0\x10\6\5abcde",
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
    """One of the three files is replaced."""
    source = Source(octets)
    which = source.choose(_FILES)
    kind = source.below(5)
    files = dict(_good())
    good, label = (
        _ders()[which],
        "PRIVATE KEY" if which == "worker.key" else "CERTIFICATE",
    )
    if kind == 0:
        rest = source.edit(files[which])
    elif kind == 1:
        rest = der.pem(label, source.edit(good))
    elif kind == 2:
        # After a valid certificate: a chain, or octets that follow a key.
        rest = files[which] + der.pem(label, source.edit(good))
    elif kind == 3:
        rest = der.pem(source.choose(_LABELS), source.edit(source.choose(_others())))
    else:
        rest = source.rest()
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

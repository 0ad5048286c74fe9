"""The CA's certificate and key in a directory, and whether master and workers agree on the CA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
)

from ..errors import UserError
from ._bundles import readCertificates, readKey
from ._issuers import isSigned, keyIds, spki
from ._issuing import Signer, alternatives

__all__ = ["checkMaster", "checkNames", "readSigner"]


def readSigner(directory: Path) -> Signer:
    """
    The certificate in C{ca.crt} that matches C{ca.key}, and the key.

    @raise UserError: none matches, or other users can read the key.
    """
    key = cast(CertificateIssuerPrivateKeyTypes, readKey(directory / "ca.key"))
    public = spki(key.public_key())
    for certificate in readCertificates(directory / "ca.crt"):
        try:
            if spki(certificate.public_key()) == public:
                return Signer(certificate, key)
        except Exception:
            # The library does not support this kind of key.
            continue
    raise UserError(
        f"{directory / 'ca.key'} is not the key of a certificate in {directory / 'ca.crt'}:"
        " no other end would accept its signatures; restore the matching pair of files"
        ' ("decnet-syslog ca replace" replaces a CA)'
    )


def checkNames(
    directory: Path, masterName: str, names: Sequence[x509.GeneralName]
) -> Sequence[x509.GeneralName]:
    """
    Check that none of the alternative names for a worker or an operator is one of the master's:
    its holder could pass for the master.

    Loopback addresses are everybody's.

    @param directory: of the CA.
    @return: the names.
    @raise UserError: one is.
    """
    taken: list[object] = [masterName]
    master = directory / "master" / "worker.crt"
    if master.exists():
        taken += [
            one.value.lower() if isinstance(one, x509.DNSName) else one.value
            for one in alternatives(readCertificates(master)[0])
        ]
    for one in names:
        value = one.value
        if isinstance(one, x509.DNSName):
            value = one.value.lower().rstrip(".")
            isTaken = value in taken or (
                value.startswith("*.")
                and any(str(other).partition(".")[2] == value[2:] for other in taken)
            )
        else:
            isTaken = value in taken and not getattr(value, "is_loopback", False)
        if isTaken:
            raise UserError(
                f"--san {str(value)!a} is a name of the master, and its holder could pass for the"
                " master: leave it out"
            )
    return names


def checkMaster(directory: Path, makers: Iterable[x509.Certificate]) -> None:
    """
    Check that the master in C{master/} and the workers would accept each other.

    @param directory: of the CA.
    @param makers: the issuers of the workers' certificates.
    @raise UserError: one would refuse the other, with the reason.
    """
    master = directory / "master"
    if not (master / "worker.crt").exists():
        return
    trusted = keyIds(readCertificates(master / "ca.crt"))
    if not set(keyIds(makers)) <= set(trusted):
        raise UserError(
            f"the master does not trust this CA: it is not in {master / 'ca.crt'}; append"
            f" {directory / 'ca.crt'} to it"
        )
    chain = readCertificates(master / "worker.crt")
    authorities = readCertificates(directory / "ca.crt")
    if not any(isSigned(one, ca) for one in chain for ca in authorities):
        raise UserError(
            f"workers with {directory / 'ca.crt'} would refuse the master: no CA in it"
            f" issued {master / 'worker.crt'}; append the CA that did"
        )

"""decnet-syslog revoke: a certificate that is not to be believed any more."""

from __future__ import annotations

import re

from twisted.python import usage

from ..errors import UserError
from ..options import Described, directory
from ..trust.authority import Authority
from ..trust.bundles import readCertificates
from ..trust.issuers import isIssued, keyId, keyIds
from ..trust.names import showText

__all__ = ["Options", "run"]

_FINGERPRINT = re.compile(r"(?:sha-256:)?([0-9a-f]{2}(?::?[0-9a-f]{2}){31})")
_SERIAL = re.compile(r"(?:0x)?([0-9a-f]{1,40})")


class Options(Described):
    """Options of revoke."""

    synopsis = "NAME|FINGERPRINT|SERIAL|--certificate FILE [options]"
    longdesc = """\
Revoke the certificates of a worker (NAME: all it has), or one, by its fingerprint, its serial
number or the certificate itself. They are written to crl.pem beside the CA. A listener that
runs with this --ca-dir refuses them within a second and closes their connections; what it
had received is kept. It cannot be undone: enrol the worker again.

Examples:
    decnet-syslog revoke decky-01
    decnet-syslog revoke sha-256:5E:10:...:9A
    decnet-syslog revoke 3fa9c1e0
    decnet-syslog revoke --certificate ./decky-01/worker.crt"""

    optParameters = [
        ["ca-dir", None, "~/.decnet/ca", "The CA"],
        ["certificate", None, None, "A certificate to revoke, as a PEM file"],
    ]

    def parseArgs(self, which: str = "") -> None:
        """What is to be revoked."""
        self["which"] = which

    def postOptions(self) -> None:
        """One of the two must be given."""
        if bool(self["which"]) == bool(self["certificate"]):
            raise usage.UsageError(
                "say what to revoke: a name, a fingerprint, a serial number, or"
                " --certificate FILE"
            )


def _digits(fingerprint: str) -> str:
    return fingerprint.lower().removeprefix("sha-256:").replace(":", "")


def _serials(authority: Authority, which: str) -> list[int]:
    """
    The serial numbers of what was named.

    @raise UserError: nothing here is called so.
    """
    entries = authority.enrolled()
    named = [entry for entry in entries if entry["name"] == which]
    if not named and (match := _FINGERPRINT.fullmatch(which.lower())):
        wanted = _digits(match[0])
        named = [e for e in entries if _digits(e["fingerprint"]) == wanted]
        if not named:
            raise UserError(
                "no certificate with this fingerprint was made here: give its serial number,"
                " or --certificate FILE"
            )
    if not named and (match := _SERIAL.fullmatch(which.lower())):
        serial = int(match[1], 16)
        named = [e for e in entries if int(e["serial"], 16) == serial]
        if not named:
            # DECNET's own CA keeps no list.
            print(f"serial {serial:x} is not in the list of what was made here")
            return [serial]
    if not named:
        raise UserError(
            f"{showText(which)} was not enrolled here: see decnet-syslog ca show"
        )
    if any(entry["role"] == "master" for entry in named):
        raise UserError(
            "this is the master's certificate: workers have no revocation list. Replace the CA"
        )
    keys = keyIds(authority.authorities())
    ours = [entry for entry in named if entry["authority"] in keys]
    if not ours:
        raise UserError(
            f"{showText(which)} is from a CA that was replaced: its certificates are refused"
            " already, and there is no list to revoke them in"
        )
    return [int(entry["serial"], 16) for entry in ours]


def _ofFile(authority: Authority, path: str) -> tuple[list[int], str]:
    """The serial number of a certificate, and the L{keyId} of its issuer."""
    certificate = readCertificates(directory(path))[0]
    for signer in authority.signers():
        if isIssued(certificate, signer.certificate):
            return [certificate.serial_number], keyId(signer.certificate)
    raise UserError(
        f"{path} is not signed by the CA in {authority.directory}: give the --ca-dir of its"
        " issuer"
    )


def run(options: Options) -> int:
    """Run the command. The exit status."""
    authority, maker = Authority.open(directory(options["ca-dir"])), ""
    if options["certificate"]:
        serials, maker = _ofFile(authority, options["certificate"])
    else:
        serials = _serials(authority, options["which"])
    new = authority.revoke(serials, maker)
    for serial in serials:
        print(f"{serial:x} {'revoked' if serial in new else 'was revoked already'}")
    return 0

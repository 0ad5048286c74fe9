"""decnet-syslog revoke: make masters refuse a certificate."""

from __future__ import annotations

import re

from twisted.python import usage

from ..errors import UserError
from ..options import Described, directory
from ..trust import Authority, isIssued, keyId, keyIds, readCertificates
from ..untrusted import escapeUntrusted

__all__ = ["Options", "run"]

_FINGERPRINT = re.compile(r"(?:sha-256:)?([0-9a-f]{2}(?::?[0-9a-f]{2}){31})")
_SERIAL = re.compile(r"(?:0x)?([0-9a-f]{1,40})")


class Options(Described):
    """Options of revoke."""

    synopsis = "NAME|FINGERPRINT|SERIAL|--certificate FILE [options]"
    longdesc = """\
Revoke all certificates of a worker (NAME), or one of them, given by its fingerprint, its serial
number or its file. The command adds them to crl.pem in the CA's directory. A listener with this
--ca-dir refuses them within a second and closes their connections; lines that it has received
are kept. A revocation cannot be undone: enroll the worker again.

Examples:
    decnet-syslog revoke decky-01
    decnet-syslog revoke sha-256:5E:10:...:9A
    decnet-syslog revoke 3fa9c1e0
    decnet-syslog revoke --certificate ./decky-01/worker.crt"""

    optParameters = [
        ["ca-dir", None, "~/.decnet/ca", "Directory of the CA"],
        ["certificate", None, None, "PEM file of the certificate to revoke"],
    ]

    def parseArgs(self, which: str = "") -> None:
        """The name, fingerprint or serial number to revoke."""
        self["which"] = which

    def postOptions(self) -> None:
        """Check that exactly one of the two is given."""
        if bool(self["which"]) == bool(self["certificate"]):
            raise usage.UsageError(
                "give one thing to revoke: a name, a fingerprint, a serial number, or"
                " --certificate FILE"
            )


def _digits(fingerprint: str) -> str:
    return fingerprint.lower().removeprefix("sha-256:").replace(":", "")


def _serials(authority: Authority, which: str) -> list[int]:
    """
    The serial numbers of the named certificates.

    @raise UserError: the CA has issued no such certificate.
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
            # DECNET's own CA keeps no list of its certificates.
            print(f"serial {serial:x} is not in this CA's list of issued certificates")
            return [serial]
    if not named:
        raise UserError(
            f"{escapeUntrusted(which)} was not enrolled here: see decnet-syslog ca show"
        )
    if any(entry["role"] == "master" for entry in named):
        raise UserError(
            "this is the master's certificate, and workers have no revocation list: replace the"
            " CA (decnet-syslog ca replace)"
        )
    keys = keyIds(authority.authorities())
    ours = [entry for entry in named if entry["authority"] in keys]
    if not ours:
        raise UserError(
            f"{escapeUntrusted(which)} is from a CA that was replaced: its certificates are refused"
            " already, and no list can revoke them"
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

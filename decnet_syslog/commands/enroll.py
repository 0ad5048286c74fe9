"""decnet-syslog enroll: make the certificates of a worker or an operator."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from twisted.python import usage

from ..errors import UserError
from ..options import Described, directory
from ..trust import (
    CERTIFICATE_DAYS,
    REQUEST_OCTETS_MAX,
    Authority,
    fingerprint,
    readCertificates,
    readInput,
    readRequest,
    role,
)
from . import enrollmany

__all__ = ["Options", "run"]


# A certificate for longer than a century.
DAYS_MAX = 36500


def _days(value: str) -> int:
    match = re.fullmatch(r"([0-9]{1,5})d?", value)
    if match is None or not 0 < int(match[1]) <= DAYS_MAX:
        raise ValueError(
            f"{value!r} is not a number of days from 1 to {DAYS_MAX}, such as 30d or 825"
        )
    return int(match[1])


def _good(authority: Authority, name: str, role: str) -> list[dict[str, str]]:
    """
    The valid, unrevoked certificates of a name.

    @raise UserError: they have another role: revoking one would revoke the other.
    """
    good = [
        entry
        for entry in authority.good()
        if entry["name"] == name and entry["role"] != "master"
    ]
    for entry in good:
        if entry["role"] != role:
            raise UserError(
                f"{name} is enrolled as {entry['role']}: choose another name for the {role}"
            )
    return good


class Options(Described):
    """Options of enroll."""

    synopsis = (
        "NAME --out DIR | --from FILE --out DIR | --renew --expiring DAYS [options]"
    )
    longdesc = """\
Make a worker's certificates (ca.crt, worker.crt, worker.key). NAME is the name under which the
master records everything that the worker sends. Install the directory on the worker with
"decnet-syslog install"; a running forwarder uses new certificates for its next connection.

With --csr the authority signs a request ("decnet-syslog request"), and there is no worker.key:
the key never leaves the worker. With --role operator the certificates give access to a
listener's status (for a person or Prometheus), and no right to send. --from and --expiring make
the certificates of many, in DIR/NAME. If they are interrupted, run the same command again.

Examples:
    decnet-syslog enroll decky-01 --out ./decky-01
    decnet-syslog enroll decky-01 --csr decky-01.csr --out ./decky-01
    decnet-syslog enroll decky-01 --renew --out ./decky-01.new
    decnet-syslog enroll decky-01 --renew --revoke-old --out ./decky-01.new
    decnet-syslog enroll alice --role operator --out ./alice
    decnet-syslog enroll --from workers.txt --out ./bundles --tar
    decnet-syslog enroll --renew --expiring 30d
    decnet-syslog enroll --renew --expiring 30d --out ./bundles"""

    optFlags = [
        ["renew", None, "Make a new certificate for a name that already has one"],
        ["revoke-old", None, "With --renew: revoke the old certificates at once"],
        ["tar", None, "With --from or --expiring: make tar files, DIR/NAME.tar"],
    ]

    optParameters = [
        ["out", "o", None, "Directory to write, which you then copy to the worker"],
        [
            "csr",
            None,
            None,
            "File with the certificate request to sign; - is standard input",
        ],
        [
            "from",
            None,
            None,
            "File with the names to enroll, one a line; - is standard input",
        ],
        [
            "expiring",
            None,
            None,
            "With --renew: all names whose certificate expires within this time, such as 30d;"
            " without --out they are only listed",
            _days,
        ],
        ["role", None, "worker", "worker, or operator (access to the status)", role],
        ["ca-dir", None, "~/.decnet/ca", "Directory of the CA"],
        ["days", None, CERTIFICATE_DAYS, "Validity in days", _days],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def opt_san(self, name: str) -> None:
        """DNS name or address for the certificate; repeatable"""
        self.names.append(name)

    def parseArgs(self, name: str = "") -> None:
        """The worker's name."""
        self["name"] = name

    def postOptions(self) -> None:
        """Check that the required options are given, and no options that exclude each other."""
        ways = [way for way in ("name", "from", "expiring") if self[way]]
        if not ways:
            raise usage.UsageError("name missing: give enroll NAME --out DIR")
        if len(ways) > 1:
            both = " and ".join(
                ["NAME" if way == "name" else f"--{way}" for way in ways]
            )
            raise usage.UsageError(f"{both}: give one of them")
        if not self["out"] and not self["expiring"]:
            raise usage.UsageError(
                "output directory missing: add --out DIR for the certificates"
            )
        for flag in ("revoke-old", "expiring"):
            if self[flag] and not self["renew"]:
                raise usage.UsageError(f"--{flag} needs --renew: add it")
        if self["expiring"] and self["days"] <= self["expiring"]:
            raise usage.UsageError(
                f"--days {self['days']}: the new certificates would expire within --expiring"
            )
        if not self["name"]:
            for option in ("csr", "revoke-old", "san"):
                if self.names if option == "san" else self[option]:
                    raise usage.UsageError(
                        f"--{option} is for a single NAME: leave it out"
                    )
        elif self["tar"]:
            raise usage.UsageError("--tar needs --from or --expiring: leave it out")


def _requested(
    options: Options, authority: Authority
) -> CertificatePublicKeyTypes | None:
    """The public key of a request; C{None} if none was given."""
    if not options["csr"]:
        return None
    taken = authority.authorities()
    master = authority.directory / "master" / "worker.crt"
    if master.exists():
        taken += readCertificates(master)[:1]
    octets = readInput(options["csr"], REQUEST_OCTETS_MAX)
    return readRequest(octets, options["name"], options.names, options["role"], taken)


def _one(options: Options, authority: Authority, out: Path) -> int:
    """Make the bundle of a name. The exit status."""
    old = _good(authority, options["name"], options["role"])
    if old and not options["renew"]:
        raise UserError(
            f"{options['name']} has a certificate until {old[-1]['not_after'][:10]}: add --renew"
            " to make another, and --revoke-old if the old one was stolen"
        )
    if options["renew"] and not old:
        raise UserError(
            f"{options['name']} has no valid certificate from this CA: enroll it without"
            " --renew"
        )
    certificate = authority.enroll(
        options["name"],
        out,
        options.names,
        options["days"],
        options["role"],
        _requested(options, authority),
    )
    print(f"{options['name']}: {out}")
    print(fingerprint(certificate))
    print(f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}")
    if options["revoke-old"]:
        authority.revoke([int(entry["serial"], 16) for entry in old])
        print(
            f"revoked {len(old)}: {options['name']} is refused until it has the new certificate"
        )
    elif old:
        print(
            f"{len(old)} older certificates stay valid: revoke them when the new one is in use:"
        )
        for entry in old:
            print(f"    decnet-syslog revoke {entry['serial']}")
    return 0


def run(options: Options) -> int:
    """Run the command. The exit status."""
    authority = Authority.open(directory(options["ca-dir"]))
    if options["name"]:
        return _one(options, authority, directory(options["out"]))
    return enrollmany.run(options, authority)

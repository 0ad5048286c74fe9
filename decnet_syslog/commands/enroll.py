"""decnet-syslog enroll: make the certificates of a worker or an operator."""

from __future__ import annotations

from twisted.python import usage

from ..errors import UserError
from ..options import Described, directory
from ..trust.authority import Authority
from ..trust.issuing import CERTIFICATE_DAYS
from ..trust.names import fingerprint

__all__ = ["Options", "run"]


def _days(value: str) -> int:
    if not value.isdigit() or not 0 < int(value) <= 36500:
        raise ValueError(f"{value!r} is not a number of days")
    return int(value)


def _role(value: str) -> str:
    if value not in ("worker", "operator"):
        raise ValueError(f"{value!r} is neither worker nor operator")
    return value


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

    synopsis = "NAME --out DIR [options]"
    longdesc = """\
Make a worker's certificates (ca.crt, worker.crt, worker.key). NAME is the name under which the
master records everything that the worker sends. Copy the directory to the worker's
~/.decnet/agent; a running forwarder uses new certificates for its next connection. With --role
operator the certificates give access to a listener's status (for a person or Prometheus), and no
right to send.

Examples:
    decnet-syslog enroll decky-01 --out ./decky-01
    decnet-syslog enroll decky-01 --renew --out ./decky-01.new
    decnet-syslog enroll decky-01 --renew --revoke-old --out ./decky-01.new
    decnet-syslog enroll alice --role operator --out ./alice"""

    optFlags = [
        ["renew", None, "Make a new certificate for a name that already has one"],
        ["revoke-old", None, "With --renew: revoke the old certificates at once"],
    ]

    optParameters = [
        ["out", "o", None, "Directory to write, which you then copy to the worker"],
        ["role", None, "worker", "worker, or operator (access to the status)", _role],
        ["ca-dir", None, "~/.decnet/ca", "Directory of the CA"],
        ["days", None, CERTIFICATE_DAYS, "Validity in days", _days],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def opt_san(self, name: str) -> None:
        """DNS name or address for the certificate; repeatable"""
        self.names.append(name)

    def parseArgs(self, name: str = "") -> None:
        """The worker's name."""
        self["name"] = name

    def postOptions(self) -> None:
        """Check that the required options are given."""
        if not self["name"]:
            raise usage.UsageError("name missing: give enroll NAME --out DIR")
        if not self["out"]:
            raise usage.UsageError(
                "output directory missing: add --out DIR for the certificates"
            )
        if self["revoke-old"] and not self["renew"]:
            raise usage.UsageError("--revoke-old needs --renew: add it")


def run(options: Options) -> int:
    """Run the command. The exit status."""
    authority = Authority.open(directory(options["ca-dir"]))
    out = directory(options["out"])
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
        options["name"], out, options.names, options["days"], options["role"]
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

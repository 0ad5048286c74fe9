"""decnet-syslog enroll: make a worker's or an operator's bundle."""

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
    The certificates of a name that are valid and not revoked.

    @raise UserError: they are of another role: revoking the one would revoke the other.
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
Make a bundle (ca.crt, worker.crt, worker.key) for a worker. NAME is what everything it
sends is attributed to. Copy the bundle to the worker's ~/.decnet/agent; a forwarder that
runs there uses a new one for its next connection. With --role operator it is for somebody
(or a Prometheus) who may look at a listener's status, and not send.

Examples:
    decnet-syslog enroll decky-01 --out ./decky-01
    decnet-syslog enroll decky-01 --renew --out ./decky-01.new
    decnet-syslog enroll decky-01 --renew --revoke-old --out ./decky-01.new
    decnet-syslog enroll alice --role operator --out ./alice"""

    optFlags = [
        ["renew", None, "Another certificate for a name that has one already"],
        ["revoke-old", None, "With --renew: revoke those it has, at once"],
    ]

    optParameters = [
        ["out", "o", None, "The directory to write, on its way to the worker"],
        ["role", None, "worker", "worker, or operator: who may see the status", _role],
        ["ca-dir", None, "~/.decnet/ca", "The CA"],
        ["days", None, CERTIFICATE_DAYS, "How long it is valid", _days],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def opt_san(self, name: str) -> None:
        """A DNS name or address for the certificate; may be given several times"""
        self.names.append(name)

    def parseArgs(self, name: str = "") -> None:
        """The worker's name."""
        self["name"] = name

    def postOptions(self) -> None:
        """Check that all is there."""
        if not self["name"]:
            raise usage.UsageError("say whom to enrol: enroll NAME --out DIR")
        if not self["out"]:
            raise usage.UsageError("say where to write the bundle: --out DIR")
        if self["revoke-old"] and not self["renew"]:
            raise usage.UsageError("--revoke-old goes with --renew")


def run(options: Options) -> int:
    """Run the command. The exit status."""
    authority = Authority.open(directory(options["ca-dir"]))
    out = directory(options["out"])
    old = _good(authority, options["name"], options["role"])
    if old and not options["renew"]:
        raise UserError(
            f"{options['name']} has a certificate until {old[-1]['not_after'][:10]}: say --renew"
            " to make another, and --revoke-old if the old one was stolen"
        )
    if options["renew"] and not old:
        raise UserError(
            f"{options['name']} has no certificate of this CA that is valid: enrol it"
            " without --renew"
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
            f"revoked {len(old)}: {options['name']} is out until it has the new bundle"
        )
    elif old:
        print(
            f"{len(old)} older stay valid: when the new bundle is in use, revoke them:"
        )
        for entry in old:
            print(f"    decnet-syslog revoke {entry['serial']}")
    return 0

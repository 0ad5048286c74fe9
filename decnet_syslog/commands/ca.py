"""decnet-syslog ca: make or show the certificate authority."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from twisted.python import usage

from ..options import Described, directory
from ..trust.authority import Authority
from ..trust.bundles import Bundle
from ..trust.names import fingerprint

__all__ = ["Options", "run"]


class _InitOptions(Described):
    """Options of ca init."""

    synopsis = "[options]"
    longdesc = """\
Make a certificate authority and the master's identity in its master/ directory.

Example:
    decnet-syslog ca init --san master.example.org --san 192.0.2.10"""

    optParameters = [["ca-dir", None, "~/.decnet/ca", "Where"]]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def opt_san(self, name: str) -> None:
        """One more DNS name or address of the master; may be given several times"""
        self.names.append(name)


class _ShowOptions(Described):
    """Options of ca show."""

    synopsis = "[options]"
    longdesc = """\
Show the CA, the master's certificate, and every certificate made here: until when it is
valid, and whether it is revoked.

Example:
    decnet-syslog ca show --ca-dir /etc/decnet/ca"""

    optParameters = [["ca-dir", None, "~/.decnet/ca", "Where"]]


class Options(Described):
    """Options of ca."""

    synopsis = "init|show [options]"
    longdesc = """\
The certificate authority, which every worker and the master are enrolled with.

Examples:
    decnet-syslog ca init --san master.example.org
    decnet-syslog ca show"""

    subCommands = [
        ["init", None, _InitOptions, "Make a CA and the master's identity."],
        ["show", None, _ShowOptions, "Show the CA, the master and who is enrolled."],
    ]

    def postOptions(self) -> None:
        """One of the two must be given."""
        if self.subCommand is None:
            raise usage.UsageError('say "ca init" or "ca show"')


def _init(options: Any) -> int:
    where = directory(options["ca-dir"])
    authority = Authority.create(where)
    out = authority.masterIdentity(options.names)
    print(f"CA                {where}")
    print(f"fingerprint       {fingerprint(authority.certificate)}")
    print(f"master's identity {out}")
    print(
        f'next: "decnet-syslog enroll NAME --out DIR --ca-dir {where}" for each worker'
    )
    return 0


def _days(until: datetime) -> str:
    days = (until - datetime.now(timezone.utc)).days
    when = until.strftime("%Y-%m-%d")
    return f"{when} ({days} days)" if days >= 0 else f"{when} EXPIRED"


def _show(options: Any) -> int:
    authority = Authority.open(directory(options["ca-dir"]))
    certificate = authority.certificate
    print(f"CA       {authority.directory}")
    print(f"         {certificate.subject.rfc4514_string()!r}")
    print(f"         {fingerprint(certificate)}")
    print(f"         until {_days(certificate.not_valid_after_utc)}")
    master = authority.directory / "master"
    if (master / "worker.crt").exists():
        bundle = Bundle.load(master)
        print(f"master   {fingerprint(bundle.certificate)}")
        print(f"         until {_days(bundle.certificate.not_valid_after_utc)}")
    else:
        print(f"master   none in {master}")
    revoked = dict(authority.revocations().serials(certificate))
    for entry in authority.enrolled():
        until = datetime.fromisoformat(entry["not_after"].replace("Z", "+00:00"))
        since = revoked.pop(int(entry["serial"], 16), None)
        state = (
            f"until {_days(until)}" if since is None else f"REVOKED {since:%Y-%m-%d}"
        )
        print(f"{entry['role']:<8} {entry['name']:<20} {state}")
        print(f"         {entry['fingerprint']}")
    for serial, since in revoked.items():
        print(f"{'?':<8} {'not enrolled here':<20} REVOKED {since:%Y-%m-%d}")
        print(f"         serial {serial:x}")
    return 0


def run(options: Options) -> int:
    """Run the command. The exit status."""
    call = {"init": _init, "show": _show}[str(options.subCommand)]
    return call(options.subOptions)

"""decnet-syslog ca: make, show or replace the certificate authority."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from twisted.python import usage

from ..errors import UserError
from ..options import Described, directory
from ..trust import (
    Authority,
    Bundle,
    beginReplacement,
    fingerprint,
    finishReplacement,
    giveBundles,
    keyId,
    keyIds,
    replacementProgress,
)

__all__ = ["Options", "run"]


class _InitOptions(Described):
    """Options of ca init."""

    synopsis = "[options]"
    longdesc = """\
Make a certificate authority (CA), and the master's certificate in its master/ directory.

Example:
    decnet-syslog ca init --san master.example.org --san 192.0.2.10"""

    optParameters = [["ca-dir", None, "~/.decnet/ca", "Directory of the CA"]]

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def opt_san(self, name: str) -> None:
        """Further DNS name or address of the master; repeatable"""
        self.names.append(name)


class _ShowOptions(Described):
    """Options of ca show."""

    synopsis = "[options]"
    longdesc = """\
Show the CA, the master's certificate, and every certificate made here: when it expires, and
whether it is revoked.

Example:
    decnet-syslog ca show --ca-dir /etc/decnet-syslog/ca"""

    optParameters = [["ca-dir", None, "~/.decnet/ca", "Directory of the CA"]]


class _ReplaceOptions(Described):
    """Options of ca replace."""

    synopsis = "[options]"
    longdesc = """\
Replace the CA while listener and forwarders run. The first run makes a new CA, which signs all
further certificates; the master trusts both CAs. Each run lists the workers and operators
without a certificate from the new CA; --out makes certificates for them, to be copied to their
machines. When all have one, --finish gives the master a certificate from the new CA and makes
it trust only that CA. To complete an interrupted run, run the same command again.

Examples:
    decnet-syslog ca replace --out ./bundles
    decnet-syslog ca replace
    decnet-syslog ca replace --finish"""

    optFlags = [["finish", None, "Trust only the new CA"]]

    optParameters = [
        ["ca-dir", None, "~/.decnet/ca", "Directory of the CA"],
        ["out", "o", None, "Make the missing certificates, each in DIR/NAME"],
    ]

    def postOptions(self) -> None:
        """Refuse both options at once: the certificates must reach their machines first."""
        if self["finish"] and self["out"]:
            raise usage.UsageError(
                "--finish must wait until the certificates of --out are installed: run it later"
            )


class Options(Described):
    """Options of ca."""

    synopsis = "init|show|replace [options]"
    longdesc = """\
The certificate authority (CA), which issues the certificates of the master and all workers.

Examples:
    decnet-syslog ca init --san master.example.org
    decnet-syslog ca show
    decnet-syslog ca replace"""

    subCommands = [
        ["init", None, _InitOptions, "Make a CA and the master's certificate."],
        ["show", None, _ShowOptions, "Show the CA, the master and all enrolled names."],
        ["replace", None, _ReplaceOptions, "Replace the CA, in steps."],
    ]


def _init(options: _InitOptions) -> int:
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


def _showAuthority(what: str, certificate: x509.Certificate) -> None:
    print(f"{what:<8} {certificate.subject.rfc4514_string()!r}")
    print(f"         {fingerprint(certificate)}")
    print(f"         until {_days(certificate.not_valid_after_utc)}")


def _show(options: _ShowOptions) -> int:
    authority = Authority.open(directory(options["ca-dir"]))
    print(f"CA       {authority.directory}")
    _showAuthority("", authority.certificate)
    if authority.previous is not None:
        _showAuthority("before", authority.previous.certificate)
    master = authority.directory / "master"
    if (master / "worker.crt").exists():
        bundle = Bundle.load(master)
        print(f"master   {fingerprint(bundle.certificate)}")
        print(f"         until {_days(bundle.certificate.not_valid_after_utc)}")
    else:
        print(f"master   none in {master}")
    revoked = authority.revoked()
    keys = keyIds(authority.authorities())
    for entry in authority.enrolled():
        until = datetime.fromisoformat(entry["not_after"].replace("Z", "+00:00"))
        since = revoked.pop((entry["authority"], int(entry["serial"], 16)), None)
        if entry["authority"] not in keys:
            state = "from a CA that was replaced"
        elif since is not None:
            state = f"REVOKED {since:%Y-%m-%d}"
        else:
            state = f"until {_days(until)}"
            if entry["authority"] != keyId(authority.certificate):
                state += ", from the old CA"
        print(f"{entry['role']:<8} {entry['name']:<20} {state}")
        print(f"         {entry['fingerprint']}")
    for (_, serial), since in revoked.items():
        print(f"{'?':<8} {'not enrolled here':<20} REVOKED {since:%Y-%m-%d}")
        print(f"         serial {serial:x}")
    return 0


def _replace(options: _ReplaceOptions) -> int:
    where = directory(options["ca-dir"])
    try:
        if options["finish"]:
            return _finish(where)
        authority = beginReplacement(where)
        if options["out"]:
            for made in giveBundles(authority, directory(options["out"])):
                print(f"made      {made}")
    except OSError as error:
        raise UserError(
            f"cannot replace the CA: {error.filename}: {error.strerror}; correct that and run"
            " the same command again"
        ) from None
    assert authority.previous is not None
    print(f"new CA    {fingerprint(authority.certificate)}, signs certificates now")
    print(f"old CA    {fingerprint(authority.previous.certificate)}, trusted until")
    print("          decnet-syslog ca replace --finish")
    found = replacementProgress(authority)
    for name, role in found.new:
        print(f"new       {name} ({role})")
    for name, role in found.old:
        print(f"still old {name} ({role})")
    if found.old:
        print(
            "next: install a new bundle on each machine that is still old"
            f" (--out DIR makes them; or enroll NAME --renew --ca-dir {where}), or revoke its"
            " certificate"
        )
    else:
        print(
            "next: when all new bundles are installed (source_fingerprint in master.json shows"
            f' it): "decnet-syslog ca replace --finish --ca-dir {where}"'
        )
    return 0


def _finish(where: Path) -> int:
    for done in finishReplacement(where):
        print(done)
    print(
        f"next: copy {where / 'ca.crt'} over ca.crt in each worker's bundle: until then a worker"
        " also accepts a master from the old CA"
    )
    return 0


def run(options: Options) -> int:
    """Run the command. The exit status."""
    chosen = options.subOptions
    if isinstance(chosen, _InitOptions):
        return _init(chosen)
    if isinstance(chosen, _ShowOptions):
        return _show(chosen)
    assert isinstance(chosen, _ReplaceOptions)
    return _replace(chosen)

"""Bundles: what an end is, and what the other will say to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509

from ..errors import UserError
from ..trust.authority import PREVIOUS, Authority
from ..trust.bundles import Bundle, BundleError
from ..trust.issuers import canonicalName, keyIds
from ..trust.names import fingerprint
from ..trust.roles import refuseMaster, refuseWorker
from .machine import checkDirectory
from .report import Report

__all__ = ["checkAuthority", "checkBundle", "refusedAsMaster", "refusedAsWorker"]

# Time enough to renew certificates by hand.
EXPIRY = timedelta(days=30)

_GET_ONE = (
    'make a bundle with "decnet-syslog enroll" (a master: "decnet-syslog ca init") and give'
    " its directory, with the options of the service"
)

Refuses = Callable[[x509.Certificate], "tuple[str, str] | None"]


def checkBundle(
    report: Report, directory: Path, refuses: Refuses, now: datetime | None = None
) -> Bundle | None:
    """
    Whether a bundle is one, and good for what it is for.

    @param refuses: why the other end will not have the certificate, and what to do.
    """
    if not checkDirectory(report, "bundle", directory, False, _GET_ONE):
        return None
    now = now or datetime.now(timezone.utc)
    try:
        bundle = Bundle.load(directory, now)
    except BundleError as error:
        report.fail("certificates", f"{error.path}: {error.reason}", error.remedy)
        return None
    report.ok("certificates", "ca.crt, worker.crt and worker.key belong together")
    refused = refuses(bundle.certificate)
    if refused is None:
        report.ok("identity", fingerprint(bundle.certificate))
    else:
        report.fail("identity", *refused)
    for name, certificate in (
        ("worker.crt", bundle.certificate),
        *[("worker.crt", issuer) for issuer in bundle.chain],
        *[("ca.crt", authority) for authority in bundle.authorities],
    ):
        _checkExpiry(report, directory / name, certificate, now)
    _checkNames(report, bundle)
    return bundle


def _checkNames(report: Report, bundle: Bundle) -> None:
    """Whether OpenSSL can tell the CAs apart by their names."""
    named: dict[object, set[str]] = {}
    for authority in bundle.authorities:
        name = canonicalName(authority.subject)
        named.setdefault(name, set()).update(keyIds([authority]))
    if any(len(keys) > 1 for keys in named.values()):
        report.note(
            "names of the CAs",
            f"{bundle.directory / 'ca.crt'} has several CAs with one name",
            "well, if they and their certificates have key identifiers, as ours do; without them"
            " OpenSSL refuses the certificates of all but one",
        )


def _checkExpiry(
    report: Report, path: Path, certificate: x509.Certificate, now: datetime
) -> None:
    check = f"expiry of {path.name}"
    until = certificate.not_valid_after_utc
    said = f"valid until {until:%Y-%m-%d}"
    if now > until:
        # The chain in use has been verified, so this certificate is not part of it.
        report.note(
            check,
            f"{path} has a certificate that has expired on {until:%Y-%m-%d}",
            "nothing needs it: take it out",
        )
    elif until - now < EXPIRY:
        report.note(
            check,
            f"{said}, in {(until - now).days} days",
            'renew it: "decnet-syslog enroll" for a worker, "decnet-syslog ca" for the master',
        )
    else:
        report.ok(check, said)


def refusedAsWorker(certificate: x509.Certificate) -> tuple[str, str] | None:
    """Why no listener will have a certificate."""
    reason = refuseWorker(certificate)
    if reason is None:
        return None
    return (
        f"a listener refuses this certificate: {reason}",
        'get a bundle with "decnet-syslog enroll NAME --out DIR"',
    )


def refusedAsMaster(certificate: x509.Certificate) -> tuple[str, str] | None:
    """Why forwarders will not have a certificate, with their default for the name."""
    reason = refuseMaster(certificate, "decnet-master")
    if reason is None:
        return None
    return (
        f"forwarders refuse this certificate: {reason}",
        'make the master\'s identity with "decnet-syslog ca init"; or give every forwarder'
        " --master-name with a name that the certificate has",
    )


def checkAuthority(report: Report, directory: Path) -> None:
    """
    Whether the CA's key, if it is here, is private and matches the CA's certificate.
    """
    key = directory / "ca.key"
    try:
        mode = key.stat().st_mode & 0o777
    except FileNotFoundError:
        report.ok("CA key", "not on this machine, which is best")
    except OSError as error:
        report.ok("CA key", f"out of this user's reach ({error.strerror})")
    else:
        if mode & 0o077:
            report.fail(
                "CA key",
                f"others can read {key} (mode {mode:04o}) and make workers and masters",
                f"chmod 600 {key}; if they may have read it, begin with a new CA",
            )
        else:
            report.ok("CA key", "readable by its owner only")
            _checkSigner(report, directory)


def _checkSigner(report: Report, directory: Path) -> None:
    try:
        authority = Authority.open(directory)
        authority.checkMaster()
    except UserError as error:
        report.fail(
            "CA",
            str(error),
            "enroll and revoke refuse to work until then",
        )
        return
    except OSError as error:
        report.note("CA", f"cannot be looked at ({error.strerror})", "see its files")
        return
    report.ok("CA", "ca.key and ca.crt belong together")
    if authority.previous is not None:
        report.note(
            "CA replacement",
            f"under way: the CA before is in {directory / PREVIOUS}",
            '"decnet-syslog ca replace" shows the next step',
        )

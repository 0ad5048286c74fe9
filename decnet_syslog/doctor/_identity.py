"""Checks of certificates: whether they are valid, and whether the other end would accept them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509

from ..errors import UserError
from ..trust import (
    PREVIOUS,
    Authority,
    Bundle,
    BundleError,
    canonicalName,
    fingerprint,
    keyIds,
    refuseMaster,
    refuseWorker,
)
from ._machine import checkDirectory
from ._report import DoctorReport

__all__ = ["checkAuthority", "checkBundle", "refusedAsMaster", "refusedAsWorker"]

# Enough time to renew certificates by hand.
EXPIRY = timedelta(days=30)

_GET_ONE = (
    'make certificates with "decnet-syslog enroll" (for a master: "decnet-syslog ca init") and'
    " give their directory with the service's options"
)

Refuses = Callable[[x509.Certificate], "tuple[str, str] | None"]


def checkBundle(
    report: DoctorReport, directory: Path, refuses: Refuses, now: datetime | None = None
) -> Bundle | None:
    """
    Whether the certificates in a directory are valid and have the right role.

    @param refuses: returns why the other end would refuse the certificate, and the remedy.
    """
    if not checkDirectory(report, "bundle", directory, False, _GET_ONE):
        return None
    now = now or datetime.now(timezone.utc)
    try:
        bundle = Bundle.load(directory, now)
    except BundleError as error:
        report.fail("certificates", f"{error.path}: {error.reason}", error.remedy)
        return None
    report.ok("certificates", "ca.crt, worker.crt and worker.key match")
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


def _checkNames(report: DoctorReport, bundle: Bundle) -> None:
    """Whether OpenSSL can distinguish the CAs by their names."""
    named: dict[object, set[str]] = {}
    for authority in bundle.authorities:
        name = canonicalName(authority.subject)
        named.setdefault(name, set()).update(keyIds([authority]))
    if any(len(keys) > 1 for keys in named.values()):
        report.note(
            "names of the CAs",
            f"{bundle.directory / 'ca.crt'} has several CAs with the same name",
            "fine if they and their certificates have key identifiers, as ours do; otherwise"
            " OpenSSL refuses the certificates of all but one",
        )


def _checkExpiry(
    report: DoctorReport, path: Path, certificate: x509.Certificate, now: datetime
) -> None:
    check = f"expiry of {path.name}"
    until = certificate.not_valid_after_utc
    said = f"valid until {until:%Y-%m-%d}"
    if now > until:
        # The chain in use has been verified, so this certificate does not belong to it.
        report.note(
            check,
            f"{path} has a certificate that expired on {until:%Y-%m-%d}",
            "nothing needs it: remove it",
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
    """Why every listener would refuse a certificate, and the remedy."""
    reason = refuseWorker(certificate)
    if reason is None:
        return None
    return (
        f"a listener refuses this certificate: {reason}",
        'make certificates with "decnet-syslog enroll NAME --out DIR"',
    )


def refusedAsMaster(certificate: x509.Certificate) -> tuple[str, str] | None:
    """Why forwarders would refuse a certificate, and the remedy; with the default master name."""
    reason = refuseMaster(certificate, "decnet-master")
    if reason is None:
        return None
    return (
        f"forwarders refuse this certificate: {reason}",
        'make the master\'s certificate with "decnet-syslog ca init"; or give every forwarder'
        " --master-name with a name in the certificate",
    )


def checkAuthority(report: DoctorReport, directory: Path) -> None:
    """
    Whether the CA's key, if it is here, is private and matches the CA's certificate.
    """
    key = directory / "ca.key"
    try:
        mode = key.stat().st_mode & 0o777
    except FileNotFoundError:
        report.ok("CA key", "not on this machine, which is best")
    except OSError as error:
        report.ok("CA key", f"this user cannot reach it ({error.strerror})")
    else:
        if mode & 0o077:
            report.fail(
                "CA key",
                f"others can read {key} (mode {mode:04o}) and make workers and masters",
                f"chmod 600 {key}; if others may have read it, replace the CA",
            )
        else:
            report.ok("CA key", "only its owner can read it")
            _checkSigner(report, directory)


def _checkSigner(report: DoctorReport, directory: Path) -> None:
    try:
        authority = Authority.open(directory)
        authority.checkMaster()
    except UserError as error:
        report.fail(
            "CA",
            str(error),
            "correct this: until then, enroll and revoke refuse to work",
        )
        return
    except OSError as error:
        report.note("CA", f"cannot be checked ({error.strerror})", "look at its files")
        return
    report.ok("CA", "ca.key and ca.crt match")
    if authority.previous is not None:
        report.note(
            "CA replacement",
            f"under way: the old CA is in {directory / PREVIOUS}",
            'see the next step with "decnet-syslog ca replace"',
        )

"""Peers that lie about their identity, or have no right to connect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cryptography.x509 import ObjectIdentifier
from cryptography.x509.name import _ASN1Type
from OpenSSL import SSL

from .field import REFUSED, Attack, Row
from .papers import SERVER, Papers, issue, key, shortKey, strangersCA
from .peer import OPEN, PATIENCE_S, TLSPeer, context

__all__ = ["ROWS"]

FRAME = b"40 <134>1 2026-04-18T00:00:00Z d s - e - hi"
assert len(FRAME) == 43


def _shows(make: Callable[[Attack], Papers | None]) -> Callable[[Attack], str]:
    """Connect with a certificate, and send a line immediately."""

    def attack(attack: Attack) -> str:
        peer = attack.tls(with_=context(make(attack)))
        peer.send(FRAME)
        return peer.fate(PATIENCE_S)

    return attack


def _issued(*names: str, **options: Any) -> Callable[[Attack], Papers]:
    return lambda attack: issue(attack.field.ca, names or [attack.name], **options)


def _byWorker(attack: Attack) -> Papers:
    """A worker's certificate signs another."""
    made = issue(attack.own, [attack.name], own=key("second"))
    return replace(made, chain=(attack.own.certificate,))


def _missing(attack: Attack) -> Papers:
    between = issue(attack.field.ca, ["between"], authority=True, own=key("between"))
    return issue(between, [attack.name])


def _revoked(attack: Attack) -> Papers:
    papers = attack.own
    attack.field.pair.authority.revoke([papers.certificate.serial_number])
    attack.until(lambda: bool(attack.field.said("revocation list")))
    # The listener notices within a second.
    attack.until(lambda: False, 1.0)
    return papers


def _copied(attack: Attack) -> str:
    """A stolen bundle, used while its owner is connected."""
    owner = attack.tls()
    other = attack.field.address()
    thief = TLSPeer(attack.field.target, other, context(attack.own))
    thief.send(FRAME)
    fate = thief.fate(1.0)
    owner.finish()
    thief.finish()
    return fate


def _revokedWhileSending(attack: Attack) -> str:
    """A live connection whose certificate is revoked."""
    peer = attack.tls()
    peer.send(FRAME)
    attack.until(lambda: attack.isThere(FRAME[3:]))
    attack.field.pair.authority.revoke([attack.own.certificate.serial_number])
    return peer.fate(5.0)


def _resumed(version: int) -> Callable[[Attack], str]:
    """A TLS session that began before the revocation."""

    def attack(attack: Attack) -> str:
        made = context(attack.own, (version, version))
        peer = attack.tls(with_=made)
        peer.send(FRAME)
        attack.until(lambda: attack.isThere(FRAME[3:]))
        session = peer.tls.get_session()
        peer.finish()
        attack.field.pair.authority.revoke([attack.own.certificate.serial_number])
        attack.until(lambda: False, 1.0)
        again = attack.field.address()
        try:
            peer = TLSPeer(attack.field.target, again, made, session)
            peer.send(FRAME)
        except (SSL.Error, ConnectionError):
            return REFUSED
        fate = peer.fate()
        let = attack.field.said(f"connected from {again}:")
        return f"{fate}, let in" if let else REFUSED

    return attack


def _row(
    name: str, sent: str, make: Callable[[Attack], Papers | None], says: str
) -> Row:
    return Row("certificate", name, sent, _shows(make), REFUSED, says)


_REFUSED: Sequence[Row] = [
    _row("cert-none", "none", lambda a: None, "peer did not return"),
    _row(
        "cert-stranger",
        "from another CA with our CA's name",
        lambda a: issue(strangersCA(), [a.name]),
        "certificate",
    ),
    _row("cert-self", "self-signed", lambda a: issue(None, [a.name]), "self"),
    _row("cert-expired", "expired yesterday", _issued(days=(-30, -1)), "expired"),
    _row("cert-early", "valid from tomorrow", _issued(days=(1, 30)), "not yet valid"),
    _row("cert-ca", "the CA's own", lambda a: a.field.ca, "unsuitable"),
    _row(
        "cert-sub-ca",
        "of an intermediate CA of ours",
        _issued(authority=True),
        "it is a CA's certificate",
    ),
    _row(
        "cert-master-name",
        "the master's name, for clients",
        _issued("decnet-master"),
        "the master's own, or has the master's name",
    ),
    _row("cert-server", "for servers only", _issued(usages=(SERVER,)), "certificate"),
    _row("cert-no-name", "no CN", _issued(""), "refused"),
    _row("cert-two-names", "two CNs", _issued("good", "cert-two-names"), "CN"),
    _row("cert-same-twice", "one CN, twice", _issued("good", "good"), "CN"),
    _row("cert-nul", "CN good NUL evil", _issued("good\0evil"), "refused"),
    _row("cert-lf", "CN with a line feed", _issued("good\nforged log line"), "refused"),
    _row("cert-escape", "CN with terminal escapes", _issued("\x1b[2Jgood"), "refused"),
    _row("cert-blank", "CN with a trailing space", _issued("good "), "refused"),
    _row("cert-wide", "CN in look-alike letters", _issued("gооd"), "refused"),
    _row("cert-right-to-left", "CN with U+202E", _issued("\u202edoog"), "refused"),
    _row("cert-long", "CN of 300 characters", _issued("g" * 300), "refused"),
    _row(
        "cert-bmp",
        "CN as a BMPString with a slash",
        _issued("a/b", kind=_ASN1Type.BMPString),
        "refused",
    ),
    _row(
        "cert-unknown-critical",
        "an unknown critical extension",
        _issued(critical=ObjectIdentifier("1.3.6.1.4.1.55555.9")),
        "critical extension",
    ),
    _row("cert-by-worker", "signed by a worker", _byWorker, "certificate"),
    _row(
        "cert-no-chain", "an issuer that is not in the chain", _missing, "certificate"
    ),
    _row(
        "cert-weak-key",
        "an RSA key of 1024 bits",
        lambda a: issue(a.field.ca, [a.name], own=shortKey()),
        "key too weak",
    ),
    _row("cert-revoked", "revoked a second ago", _revoked, "revoked"),
]

_PATHS: Sequence[Row] = [
    Row(
        "path",
        f"path-{number}",
        f"CN {shown}",
        _shows(_issued(name)),
        REFUSED,
        "refused",
    )
    for number, (shown, name) in enumerate(
        [
            ("..", ".."),
            (".", "."),
            ("../../etc/cron.d/x", "../../etc/cron.d/x"),
            ("/etc/passwd", "/etc/passwd"),
            ("a/b", "a/b"),
            ("a\\b", "a\\b"),
            ("{worker}", "{worker}"),
            ("-rf", "-rf"),
            ("~root", "~root"),
            ("%00", "%00"),
        ]
    )
]

ROWS: Sequence[Row] = [
    *_REFUSED,
    Row(
        "certificate",
        "cert-live",
        "revoked while it sends",
        _revokedWhileSending,
        "closed",
        "what it sent before is kept",
        (FRAME[3:],),
    ),
    Row(
        "certificate",
        "cert-session-12",
        "revoked, then an earlier session resumed, TLS 1.2",
        _resumed(SSL.TLS1_2_VERSION),
        REFUSED,
        "",
        (FRAME[3:],),
    ),
    Row(
        "certificate",
        "cert-session-13",
        "revoked, then an earlier session resumed, TLS 1.3",
        _resumed(SSL.TLS1_3_VERSION),
        REFUSED,
        "",
        (FRAME[3:],),
    ),
    Row(
        "certificate",
        "cert-copied",
        "a stolen key, from a second address",
        _copied,
        OPEN,
        "a copied key",
        (FRAME[3:],),
    ),
    *_PATHS,
]

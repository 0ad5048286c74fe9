"""The addresses of the NATS servers, and the credentials for them."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError

__all__ = ["SCHEMES", "Access", "parseServers"]

SCHEMES = ("nats://", "tls://")

PORT = 4222

# A .creds file has two to three thousand characters.
CREDENTIALS_CHARACTERS_MAX = 64 * 1024

# Valid in nats-server both as the name of a stream and as a token of a subject.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_SERVER = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?\Z"
)


@dataclass(frozen=True, slots=True)
class Access:
    """
    The servers of a cluster, and the credentials for them.

    @ivar servers: each as (host, port).
    @ivar tls: C{None}: connect without TLS.
    @ivar user: a name and its password.
    @ivar credentials: the text of a NATS user's credentials file: JWT and seed.
    @ivar seed: the seed of an nkey.
    @ivar renewed: reads all files again; it may raise L{UserError}. Operators replace passwords,
        keys and certificates while we run, so each connection uses the files' present content.
    """

    servers: tuple[tuple[str, int], ...]
    tls: ssl.SSLContext | None = None
    user: tuple[str, str] | None = field(default=None, repr=False)
    credentials: str | None = field(default=None, repr=False)
    seed: str | None = field(default=None, repr=False)
    renewed: Callable[[], Access] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return ", ".join(f"{host}:{port}" for host, port in self.servers)


def parseServers(text: str) -> tuple[tuple[str, int], ...]:
    """
    Parse C{nats://host:port,host:port}.

    @raise ValueError: the address is malformed. The text gives the reason.
    """
    scheme = next((s for s in SCHEMES if text.startswith(s)), None)
    if scheme is None:
        raise ValueError(f"{text!r} must begin with one of {', '.join(SCHEMES)}")
    if "@" in text:
        raise ValueError(
            "every user of this machine can see a password in the address: put it into a file"
            " for --journal-credentials"
        )
    servers = []
    for part in text.removeprefix(scheme).rstrip("/").split(","):
        match = _SERVER.match(part.removeprefix(scheme))
        port = PORT if match is None or match["port"] is None else int(match["port"])
        if match is None or not 0 < port < 65536:
            raise ValueError(f"{part!r} is not host:port")
        servers.append((match["host"].strip("[]"), port))
    return tuple(servers)


def isLoopback(host: str) -> bool:
    """Whether a host is this machine, so that data for it does not leave the machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checkName(name: str) -> str:
    """
    Check that a name is valid for a stream.

    @raise ValueError: it is not.
    """
    if _NAME.match(name) is None:
        raise ValueError("1 to 64 letters, digits, _ or -")
    return name


def checkAccess(
    address: str, options: Mapping[str, str | None], plaintext: bool
) -> tuple[tuple[str, int], ...]:
    """
    Check the options of L{access} without the files that they name.

    @return: the servers.
    @raise UserError: the options could not be used on any machine.
    """
    try:
        servers = parseServers(address)
    except ValueError as error:
        raise UserError(f"--journal: {error}") from None
    ca, certificate, key = options["ca"], options["cert"], options["key"]
    if ca is None and (certificate is not None or key is not None):
        raise UserError("--journal-cert and --journal-key need --journal-ca as well")
    if (certificate is None) != (key is None):
        raise UserError("give both --journal-cert and --journal-key, or neither")
    if ca is None and address.startswith("tls://"):
        raise UserError(
            "--journal tls://...: give --journal-ca, the CA of the servers' certificates"
        )
    away = [host for host, _ in servers if not isLoopback(host)]
    if ca is None and away and not plaintext:
        raise UserError(
            f"--journal: without TLS, others could read and change the data on its way to"
            f" {away[0]}: give --journal-ca for TLS, or --journal-plaintext if the network path is"
            " safe"
        )
    return servers


def access(address: str, options: Mapping[str, str | None], plaintext: bool) -> Access:
    """
    Make an L{Access} from the operator's options.

    @param options: C{ca}, C{cert}, C{key}, C{credentials}: paths, or C{None}.
    @param plaintext: whether to connect to other machines without TLS.
    @raise UserError: the options are unusable. The text gives the remedy.
    """
    servers = checkAccess(address, options, plaintext)
    tls = _context(options)

    def renewed() -> Access:
        return access(address, options, plaintext)

    if options["credentials"] is None:
        return Access(servers, tls, renewed=renewed)
    path = Path(options["credentials"])
    text = _secret(path)
    if "NATS USER JWT" in text:
        if "USER NKEY SEED" not in text:
            raise UserError(
                f"--journal-credentials {path}: a NATS .creds file without the seed; it must"
                " contain JWT and seed, as written by nsc"
            )
        return Access(servers, tls, credentials=text, renewed=renewed)
    if re.fullmatch(r"SU[A-Z2-7]{56}", text):
        return Access(servers, tls, seed=text, renewed=renewed)
    name, colon, password = text.partition(":")
    if not colon or not name or "\n" in text:
        raise UserError(
            f"--journal-credentials {path}: neither a NATS .creds file, nor an nkey's"
            " seed, nor one line name:password"
        )
    return Access(servers, tls, user=(name, password), renewed=renewed)


def _secret(path: Path) -> str:
    """
    Read a file that only its owner, and perhaps a group, may read.

    @raise UserError: it cannot be read, or other users have access.
    """
    try:
        with open(path, encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read(CREDENTIALS_CHARACTERS_MAX).strip()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read --journal-credentials {path}: {error}") from None
    _checkOwner("--journal-credentials", path, status)
    return text


def _refusePublic(option: str, path: Path) -> None:
    """
    Refuse a secret file to which other users have access.

    @raise UserError: other users have access, or there is no such file.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"cannot read {option} {path}: {error.strerror}") from None
    _checkOwner(option, path, status)


def _checkOwner(option: str, path: Path, status: os.stat_result) -> None:
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise UserError(
            f"{option} {path}: other users of this machine can read or replace the secret"
            f" (mode {stat.S_IMODE(status.st_mode):04o}); chmod 600 {path}, and renew the"
            " secret if another user may have read it"
        )
    if status.st_uid not in (0, os.geteuid()) and os.geteuid() != 0:
        raise UserError(
            f"{option} {path} belongs to another user: chown it to the user that runs this,"
            " or to root"
        )


def _context(options: Mapping[str, str | None]) -> ssl.SSLContext | None:
    """
    Make the TLS context. It verifies the server's certificate and name.

    @raise UserError: a file cannot be used.
    """
    if options["ca"] is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=options["ca"])
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"cannot use --journal-ca {options['ca']}: {error}; it must be a"
            " file of certificates in PEM"
        ) from None
    if options["key"] is not None:
        _refusePublic("--journal-key", Path(options["key"]))
    if options["cert"] is not None:
        try:
            context.load_cert_chain(options["cert"], options["key"])
        except (OSError, ssl.SSLError) as error:
            raise UserError(
                f"cannot use --journal-cert {options['cert']} with its key: {error}"
            ) from None
    return context

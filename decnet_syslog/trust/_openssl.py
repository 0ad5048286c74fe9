"""
OpenSSL, loaded with a configuration that sends no session tickets.

A TLS 1.3 server sends two tickets after the handshake. A sender that never reads leaves them
unread, so its C{close} is an RST, and the last lines it sent are lost with the connection.
Resumption is off here in any case: a ticket would skip the certificates.

pyOpenSSL has no C{SSL_CTX_set_num_tickets}. OpenSSL's configuration has C{NumTickets}, which
every context takes from the section C{system_default}. OpenSSL reads C{OPENSSL_CONF} once,
when cryptography's extension module is imported. So this module must run first:
C{decnet_syslog.trust} and C{decnet_syslog.master} call L{loadOpenSSL} as they are imported.
C{OPENSSL_CONF} is set during the import only: the C{openssl} command of a child process would
miss its own configuration.

An operator's own C{OPENSSL_CONF} stays in force: L{merged} includes it and adds C{NumTickets}
to the section that it names. Where that is not possible (its sections are in other files, its
values are computed, cryptography is linked to the system's OpenSSL, another module loaded
OpenSSL earlier) nothing is changed, and L{ticketsSent} shows it: the listener then warns.
"""

from __future__ import annotations

import importlib
import os
import re
import sys

__all__ = ["CONFIGURATION", "TICKETS_SENT", "loadOpenSSL", "merged", "ticketsSent"]

_LIBRARY = "cryptography.hazmat.bindings._rust"

#: The configuration that OpenSSL reads if the operator has none.
CONFIGURATION = """\
openssl_conf = decnet_syslog
[decnet_syslog]
ssl_conf = decnet_syslog_ssl
[decnet_syslog_ssl]
system_default = decnet_syslog_tls
[decnet_syslog_tls]
NumTickets = 0
"""

#: The warning of a listener when L{ticketsSent}.
TICKETS_SENT = (
    "OpenSSL sends session tickets, so a TLS 1.3 sender that never reads can lose its last"
    " lines when it closes: put NumTickets = 0 into the system_default section of OpenSSL's"
    " configuration (OPENSSL_CONF names it), and start again"
)

# From a configuration's first keyword to the section that every context uses.
_PATH = ("openssl_conf", "ssl_conf", "system_default")

_SECTION = re.compile(r"\[\s*([^]\s]+)\s*\]\Z")
_SETTING = re.compile(r"([^\s=]+)\s*=\s*(.*)\Z")
_NAME = re.compile(r"[\w.-]+\Z")


def _sections(text: str) -> dict[str, dict[str, str]]:
    """A configuration's sections; the last of equal names counts, as for OpenSSL."""
    sections: dict[str, dict[str, str]] = {"": {}}
    current = sections[""]
    for line in text.replace("\\\n", "").splitlines():
        line = line.partition("#")[0].strip()
        if found := _SECTION.match(line):
            name = "" if found[1] == "default" else found[1]
            current = sections.setdefault(name, {})
        elif found := _SETTING.match(line):
            current[found[1]] = found[2]
    return sections


def merged(path: str, text: str) -> str | None:
    """
    An operator's configuration with C{NumTickets = 0}.

    @param path: the path of the operator's file.
    @param text: its contents.
    @return: C{None} if the file already sets C{NumTickets}, or if its sections are not explicit.
    """
    sections = _sections(text)
    includes = re.search(r"^\s*\.include", text, re.M) is not None
    if re.search(r"[\s#$\\\"'`]", path):
        return None
    name, extra = "", ""
    for key in _PATH:
        following = sections.get(name, {}).get(key)
        if following is None:
            if includes:
                return None
            following = f"decnet_syslog_{key}"
            extra += f"[{name or 'default'}]\n{key} = {following}\n"
        elif not _NAME.match(following):
            return None
        name = following
    if any(key.lower().endswith("numtickets") for key in sections.get(name, {})):
        return None
    return f".include = {path}\n{extra}[{name}]\nNumTickets = 0\n"


def _isBundled() -> bool:
    """Whether cryptography has an OpenSSL of its own, as its wheels have."""
    # Imported here, because most processes need it never.
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        wheel = distribution("cryptography").read_text("WHEEL") or ""
    except PackageNotFoundError:
        return False
    return re.search(r"^Tag: .*-(manylinux|musllinux)", wheel, re.M) is not None


def _configuration(own: str | None) -> str | None:
    if own is None:
        return CONFIGURATION
    try:
        with open(own, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        # OpenSSL cannot read it either.
        return CONFIGURATION
    return merged(os.path.abspath(own), text)


def loadOpenSSL() -> None:
    """Import cryptography's OpenSSL so that it sends no tickets, if that is possible."""
    if _LIBRARY in sys.modules or not _isBundled():
        return
    own = os.environ.get("OPENSSL_CONF")
    configuration = _configuration(own)
    if configuration is None:
        return
    try:
        # In memory: no other process can change it, and no file remains.
        file = os.memfd_create("decnet-syslog-openssl.cnf")
    except OSError:
        # A sandbox that forbids it.
        return
    try:
        os.write(file, configuration.encode("utf-8", "surrogateescape"))
        os.environ["OPENSSL_CONF"] = f"/proc/self/fd/{file}"
        importlib.import_module(_LIBRARY)
    finally:
        os.close(file)
        if own is None:
            os.environ.pop("OPENSSL_CONF", None)
        else:
            os.environ["OPENSSL_CONF"] = own


def ticketsSent() -> bool:
    """Whether a TLS 1.3 server of this process sends anything after its handshake."""
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from OpenSSL import SSL

    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    server, client = (
        SSL.Connection(context),
        SSL.Connection(SSL.Context(SSL.TLS_METHOD)),
    )
    server.set_accept_state()
    client.set_connect_state()
    for one, other in (client, server), (server, client), (client, server):
        try:
            one.do_handshake()
        except SSL.WantReadError:
            pass
        other.bio_write(one.bio_read(1 << 16))
    server.do_handshake()
    try:
        server.bio_read(1)
    except SSL.WantReadError:
        return False
    return True

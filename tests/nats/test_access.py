"""
Tests for L{decnet_syslog.nats._access}: which servers are trusted, and which secrets
they receive.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from cryptography.hazmat.primitives import serialization
from nats.aio.client import Srv
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.nats import _bus as buses
from decnet_syslog.nats import _connection as connections
from decnet_syslog.nats._access import access, checkName, parseServers
from decnet_syslog.nats._bus import Bus, NoResponse
from decnet_syslog.nats._client import RestrictedClient
from decnet_syslog.nats.tap import Options as OutputsOptions

from ..certificates import CLIENT, SERVER, authority, certificate, key
from ..natsserver import NatsServer, NatsTestCase, freeAddress, waitUntil

NOTHING: dict[str, str | None] = {
    "ca": None,
    "cert": None,
    "key": None,
    "credentials": None,
}


def pem(path: Path, *certificates: object) -> str:
    """Write certificates or a key."""
    path.touch(0o600)
    path.write_bytes(
        b"".join(
            c.public_bytes(serialization.Encoding.PEM)
            if hasattr(c, "public_bytes")
            else c.private_bytes(  # type: ignore[attr-defined]
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            for c in certificates
        )
    )
    return str(path)


_PREFIXES = {"O": 14 << 3, "A": 0, "U": 20 << 3}


def keyPair(number: int, prefix: str) -> Any:
    """An nkey of an operator, an account or a user."""
    import nkeys

    return nkeys.from_seed(nkeys.encode_seed(bytes([number]) * 32, _PREFIXES[prefix]))


def public(pair: Any) -> str:
    """The public part of a key pair."""
    return bytes(pair.public_key).decode("ascii")


def signed(issuer: Any, subject: Any, kind: str, claims: dict[str, Any]) -> str:
    """A version 2 JWT as NATS defines it."""

    def encoded(octets: bytes) -> str:
        return urlsafe_b64encode(octets).decode("ascii").rstrip("=")

    said = {
        "jti": f"{kind} {public(subject)}",
        "iat": int(time.time()) - 60,
        "iss": public(issuer),
        "name": kind,
        "sub": public(subject),
        "nats": {**claims, "type": kind, "version": 2},
    }
    head = {"typ": "JWT", "alg": "ed25519-nkey"}
    text = ".".join(encoded(json.dumps(part).encode("ascii")) for part in (head, said))
    return f"{text}.{encoded(issuer.sign(text.encode('ascii')))}"


class AddressTests(SynchronousTestCase):
    """Addresses and options from the operator."""

    def test_serverAddresses(self) -> None:
        """C{--journal} takes one or more servers, with or without ports."""
        self.assertEqual(
            parseServers("nats://a,b:5,[::1]:6/"), (("a", 4222), ("b", 5), ("::1", 6))
        )
        self.assertEqual(parseServers("tls://n1.x:1,tls://n2.x:2")[1], ("n2.x", 2))
        for wrong in (
            "http://x",
            "nats://",
            "nats://a:0",
            "nats://a:99999",
            "nats://a b",
            "nats://a,,b",
            "nats://user:secret@a",
        ):
            self.assertRaises(ValueError, parseServers, wrong)

    def test_streamNames(self) -> None:
        """A stream's name must have no special meaning in a subject."""
        self.assertEqual(checkName("decnet_2-x"), "decnet_2-x")
        for wrong in ("", "a.b", "*", ">", "a b", "x" * 65, "a\n"):
            self.assertRaises(ValueError, checkName, wrong)

    def test_plaintextOnlyLocally(self) -> None:
        """
        Connections to other machines require TLS unless the operator explicitly allows
        plaintext.
        """
        for here in ("127.0.0.1", "[::1]", "localhost", "127.9.9.9:5"):
            access(f"nats://{here}", NOTHING, False)
        for away in ("192.0.2.1", "n1.example", "127.0.0.1,n2.example"):
            error = self.assertRaises(
                UserError, access, f"nats://{away}", NOTHING, False
            )
            self.assertIn("--journal-ca", str(error))
            access(f"nats://{away}", NOTHING, True)
        self.assertRaises(UserError, access, "tls://127.0.0.1", NOTHING, True)

    def test_invalidFilesAreNamed(self) -> None:
        """An invalid certificate, key or credentials file is named in the error."""
        path = Path(self.mktemp())
        path.write_text("what is this\n")
        path.chmod(0o600)
        for given, said in [
            ({"ca": str(path)}, "--journal-ca"),
            ({"ca": "/nowhere"}, "--journal-ca"),
            ({"cert": str(path)}, "need --journal-ca"),
            ({"ca": str(path), "cert": str(path)}, "give both --journal-cert"),
            ({"credentials": str(path)}, "neither"),
            ({"credentials": "/nowhere"}, "cannot read"),
        ]:
            error = self.assertRaises(
                UserError, access, "nats://127.0.0.1", {**NOTHING, **given}, False
            )
            self.assertIn(said, str(error))

    def test_secretsMustBePrivate(self) -> None:
        """A secret that other users can read or replace is refused."""
        path = Path(self.mktemp())
        path.write_text("ours:pa55word\n")
        given = {**NOTHING, "credentials": str(path)}
        for mode in (0o644, 0o604, 0o602, 0o660, 0o620, 0o601):
            path.chmod(mode)
            error = self.assertRaises(
                UserError, access, "nats://127.0.0.1", given, False
            )
            self.assertIn("chmod 600", str(error))
        given = {**NOTHING, "ca": "ca", "cert": "cert", "key": str(path)}
        self.patch(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
        path.chmod(0o644)
        error = self.assertRaises(UserError, access, "nats://127.0.0.1", given, False)
        self.assertIn(f"--journal-key {path}: other users", str(error))
        given = {**NOTHING, "credentials": str(path)}
        for mode in (0o600, 0o400, 0o640):
            path.chmod(mode)
            made = access("nats://127.0.0.1", given, False)
            self.assertEqual(made.user, ("ours", "pa55word"))
            self.assertNotIn("pa55word", repr(made))

    def test_optionsExcludeOutputs(self) -> None:
        """
        A listener with a NATS journal writes no outputs, and the outputs process
        requires such a journal.
        """
        listener = ListenerOptions()
        listener.parseOptions(["--journal=nats://127.0.0.1"])
        self.assertEqual(listener.paths, {"log": [], "json": []})
        self.assertRaises(
            UsageError,
            ListenerOptions().parseOptions,
            ["--journal=nats://127.0.0.1", "--log-path=x.log"],
        )
        for wrong in ([], ["--journal=x.db"]):
            self.assertRaises(UsageError, OutputsOptions().parseOptions, wrong)
        self.assertRaises(
            UsageError,
            OutputsOptions().parseOptions,
            ["--journal=nats://127.0.0.1", "--log-path=", "--json-path="],
        )


class InfoTests(SynchronousTestCase):
    """What servers send about themselves."""

    def test_newLimitAndOtherServers(self) -> None:
        """A new C{max_payload} counts at once; addresses of other servers are ignored."""
        client = RestrictedClient()
        client._current_server = Srv(urlparse("nats://127.0.0.1:4222"))
        info = {"max_payload": 65536, "connect_urls": ["192.0.2.1:4222"]}
        asyncio.run(client._process_info(info))
        self.assertEqual(client.max_payload, 65536)
        self.assertEqual(client._server_pool, [])


class ServerTests(NatsTestCase):
    """Real servers with TLS and passwords."""

    def setUp(self) -> None:
        self.home = self.directory()
        self.patch(buses, "CONNECT_S", 1.5)
        self.ca = pem(self.home / "ca.pem", authority())

    def tls(self, name: str | None = None, verify: bool = True) -> NatsServer:
        """A server whose certificate has its address, or another name."""
        address = freeAddress()
        cert = certificate(["nats"], usages=(SERVER,), alternatives=(name or address,))
        server = NatsServer(
            self.directory(),
            address=address,
            extra="tls {\n"
            f'  cert_file: "{pem(self.home / "server.pem", cert)}"\n'
            f'  key_file: "{pem(self.home / "server.key", key("holder"))}"\n'
            f'  ca_file: "{self.ca}"\n'
            f"  verify: {'true' if verify else 'false'}\n"
            "}",
        )
        self.addCleanup(server.kill)
        server.start()
        waitUntil(server.healthy, "JetStream does not start")
        return server

    def mine(self, ca: str = "ca") -> dict[str, str | None]:
        """Options with our certificate."""
        cert = certificate(["listener"], ca=ca, holder="ours", usages=(CLIENT,))
        return {
            **NOTHING,
            "ca": self.ca,
            "cert": pem(self.home / "ours.pem", cert),
            "key": pem(self.home / "ours.key", key("ours")),
        }

    def comesIn(self, url: str, options: dict[str, str | None]) -> bool:
        """Whether a server accepts us, and we accept it."""
        try:
            bus = Bus.open(access(url, options, False))
        except UserError as error:
            self.assertIn("accepts us", str(error))
            return False
        try:
            return "limits" in bus.run(bus.api("INFO"))
        finally:
            bus.close()

    def test_mutualTLS(self) -> None:
        """
        Both ends require a certificate from the CA; a peer without one, or from another
        CA, is refused.
        """
        url = self.tls().url
        self.assertTrue(self.comesIn(url, self.mine()))
        self.assertFalse(self.comesIn(url, {**NOTHING, "ca": self.ca}))
        self.assertFalse(self.comesIn(url, self.mine(ca="other")))
        other = pem(self.home / "other.pem", authority("other"))
        self.assertFalse(self.comesIn(url, {**self.mine(), "ca": other}))

    def test_renewedCertificates(self) -> None:
        """Replaced certificates and keys are used for the next connection."""
        self.patch(connections, "COME_AGAIN_S", 0.2)
        server = self.tls()
        given = self.mine(ca="other")
        cert, key_ = Path(str(given["cert"])), Path(str(given["key"]))
        wrong = cert.read_bytes()
        given = self.mine()
        right = cert.read_bytes()
        bus = Bus.open(access(server.url, given, False))
        self.addCleanup(bus.close)
        bus.run(bus.api("INFO"))

        def isIn() -> bool:
            try:
                return "limits" in bus.run(bus.api("INFO"))
            except NoResponse:
                return False

        cert.write_bytes(wrong)
        server.stop()
        server.start()
        time.sleep(1)
        self.assertFalse(isIn())
        # A half-written file is ignored.
        cert.write_bytes(right[: len(right) // 2])
        time.sleep(0.5)
        self.assertFalse(isIn())
        cert.write_bytes(right)
        self.assertTrue(key_.exists())
        waitUntil(isIn, "the new certificate is not used")

    def test_wrongServerName(self) -> None:
        """A server with a certificate from the CA but another name is refused."""
        server = self.tls("other.example", verify=False)
        self.assertFalse(self.comesIn(server.url, self.mine()))

    def test_noPasswordWithoutTLS(self) -> None:
        """
        If TLS is required, a server that does not offer it never receives the password.
        """
        secret = self.home / "secret"
        secret.touch(0o600)
        secret.write_text("ours:pa55word\n")
        server = self.server(
            "authorization { users: [{user: ours, password: pa55word}] }\n"
            f'debug: true\ntrace: true\nlog_file: "{self.home / "trace.log"}"'
        )
        options = {**NOTHING, "credentials": str(secret)}
        self.assertTrue(self.comesIn(server.url, options))
        before = (self.home / "trace.log").read_text().count("[CONNECT")
        self.assertGreater(before, 0)
        self.assertFalse(self.comesIn(server.url, {**options, "ca": self.ca}))
        after = (self.home / "trace.log").read_text().count("[CONNECT")
        self.assertEqual(after, before)

    def test_passwordIsChecked(self) -> None:
        """A client with a wrong password or none is refused."""
        secret = self.home / "secret"
        secret.touch(0o600)
        server = self.server(
            "authorization { users: [{user: ours, password: pa55word}] }"
        )
        for text, isIn in [("ours:pa55word\n", True), ("ours:other\n", False)]:
            secret.write_text(text)
            options = {**NOTHING, "credentials": str(secret)}
            self.assertEqual(self.comesIn(server.url, options), isIn)
        self.assertFalse(self.comesIn(server.url, NOTHING))

    def test_refusedClientRetries(self) -> None:
        """
        A client that is refused for a while is accepted once its credentials are
        corrected.
        """
        secret = self.home / "secret"
        secret.touch(0o600)
        secret.write_text("ours:pa55word\n")
        good = "authorization { users: [{user: ours, password: pa55word}] }"
        server = self.server(good)
        options = {**NOTHING, "credentials": str(secret)}
        bus = Bus.open(access(server.url, options, False))
        self.addCleanup(bus.close)
        for _ in range(2):
            server.stop()
            server.extra = good.replace("pa55word", "other")
            server.start()
            time.sleep(3)
            self.assertRaises(NoResponse, bus.run, bus.api("INFO"))
            server.stop()
            server.extra = good
            server.start()

            def isIn() -> bool:
                try:
                    return "limits" in bus.run(bus.api("INFO"))
                except NoResponse:
                    return False

            waitUntil(isIn, "the client was not accepted again")
        # Without a restart: the server ends the connection.
        self.patch(connections, "COME_AGAIN_S", 0.5)
        for text, comesIn in [(good.replace("pa55word", "other"), False), (good, True)]:
            server.extra = text
            server.reload()
            waitUntil(lambda comesIn=comesIn: isIn() is comesIn, f"not {comesIn}")  # type: ignore[misc]

    def test_changedCredentials(self) -> None:
        """
        Each connection uses the credentials file's current content: another password,
        another user, or another kind of secret. Unusable content is ignored, with a
        message.
        """
        import nkeys

        self.patch(connections, "COME_AGAIN_S", 0.2)
        self.patch(buses, "ANSWER_S", 0.5)
        pair = nkeys.from_seed(nkeys.encode_seed(b"\x05" * 32, nkeys.PREFIX_BYTE_USER))
        secret = self.home / "secret"
        secret.touch(0o600)
        secret.write_text("ours:pa55word\n")
        user = "authorization {{ users: [{{{}}}] }}".format
        server = self.server(user("user: ours, password: pa55word"))
        bus = Bus.open(
            access(server.url, {**NOTHING, "credentials": str(secret)}, False)
        )
        self.addCleanup(bus.close)

        def isIn() -> bool:
            try:
                return "limits" in bus.run(bus.api("INFO"))
            except NoResponse:
                return False

        self.assertTrue(isIn())
        for text, wanted in [
            ("ours:other\n", "user: ours, password: other"),
            ("two:third\n", "user: two, password: third"),
            (bytes(pair.seed).decode(), f"nkey: {pair.public_key.decode()}"),
            ("ours:pa55word\n", "user: ours, password: pa55word"),
        ]:
            server.extra = user(wanted)
            server.reload()
            waitUntil(lambda: not isIn(), "the old credentials are still accepted")
            for wrong, mode in [("nonsense", 0o600), (text, 0o644)]:
                secret.write_text(wrong)
                secret.chmod(mode)
                time.sleep(0.5)
                self.assertFalse(isIn())
            secret.chmod(0o600)
            waitUntil(isIn, f"{wanted} is not accepted")

    def test_nkeyAuthenticates(self) -> None:
        """
        A client can authenticate with an nkey's seed; the server knows only the public
        key.
        """
        import nkeys

        pair = nkeys.from_seed(nkeys.encode_seed(b"\x05" * 32, nkeys.PREFIX_BYTE_USER))
        secret = self.home / "seed"
        secret.touch(0o600)
        secret.write_bytes(bytes(pair.seed))
        server = self.server(
            f"authorization {{ users: [{{nkey: {pair.public_key.decode()}}}] }}"
        )
        options = {**NOTHING, "credentials": str(secret)}
        self.assertTrue(self.comesIn(server.url, options))
        self.assertFalse(self.comesIn(server.url, NOTHING))

    def test_credsFile(self) -> None:
        """
        A client can authenticate with nsc's C{.creds} file for an account that an
        operator has signed.
        """
        operator, account, system, user, other = (
            keyPair(number, prefix) for number, prefix in enumerate("OAAUU", 1)
        )
        every = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
        stored = ("mem_storage", "disk_storage", "streams", "consumer")
        limits = {**dict.fromkeys(every, -1), "wildcards": True}
        accounts = {
            public(pair): signed(
                operator,
                pair,
                "account",
                {"limits": {**limits, **more}, "default_permissions": {}},
            )
            for pair, more in ((account, dict.fromkeys(stored, -1)), (system, {}))
        }
        preload = ", ".join(f"{name}: {text}" for name, text in accounts.items())
        server = self.server(
            f"operator: {signed(operator, operator, 'operator', {})}\n"
            f"system_account: {public(system)}\n"
            f"resolver: MEMORY\nresolver_preload: {{ {preload} }}\n"
        )
        path = self.home / "user.creds"
        path.touch(0o600)
        options = {**NOTHING, "credentials": str(path)}
        rights = {"subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
        token = signed(account, user, "user", rights)
        for pair, isIn in ((user, True), (other, False)):
            path.write_text(
                f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
                "-----BEGIN USER NKEY SEED-----\n"
                f"{bytes(pair.seed).decode()}\n------END USER NKEY SEED------\n"
            )
            self.assertEqual(self.comesIn(server.url, options), isIn)
        self.assertFalse(self.comesIn(server.url, NOTHING))

"""Tests for L{decnet_syslog.trust.gathering}: real TLS, over memory."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.trust.gathering import (
    GATHERED_OCTETS,
    PLAINTEXT_OCTETS_MAX,
    GatheringConnection,
)

from .certificates import SERVER, certificate, key

# What Twisted asks for.
ASKED = 2**15

_KEY = key("holder")
_CERTIFICATE = certificate(["master"], usages=(SERVER,))


class _Counting(GatheringConnection):
    """Counts what OpenSSL is asked."""

    asked = 0

    def _raise_ssl_error(self, ssl: Any, result: int) -> None:
        self.asked += 1
        super()._raise_ssl_error(ssl, result)


def pair(version: int) -> tuple[SSL.Connection, _Counting]:
    """A client and a server behind their handshake."""
    contexts = [SSL.Context(SSL.TLS_METHOD) for _ in range(2)]
    for context in contexts:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    contexts[1].use_certificate(X509.from_cryptography(_CERTIFICATE))
    contexts[1].use_privatekey(PKey.from_cryptography_key(_KEY))
    client = SSL.Connection(contexts[0], None)
    server = _Counting(contexts[1])
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            octets = sent(one)
            if octets:
                other.bio_write(octets)
    # Tickets; and nothing of the handshake is counted any more.
    for connection in (client, server):
        assert drained(connection) == (b"", SSL.WantReadError)
    return client, server


def sent(connection: SSL.Connection) -> bytes:
    """What it wants to send."""
    octets = b""
    while True:
        try:
            octets += connection.bio_read(2**20)
        except SSL.WantReadError:
            return octets


def drained(connection: SSL.Connection) -> tuple[bytes, type[Exception]]:
    """What Twisted would deliver, and what ends it."""
    octets = b""
    while True:
        try:
            octets += connection.recv(ASKED)
        except SSL.Error as error:
            return octets, type(error)


VERSIONS = st.sampled_from([SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])


class GatheringTests(SynchronousTestCase):
    """What comes out is what went in, as soon as it can."""

    @given(
        VERSIONS,
        st.lists(
            st.one_of(
                st.integers(1, 300), st.integers(16_300, 16_500), st.just(50_000)
            ),
            max_size=6,
        ),
        st.lists(
            st.one_of(
                st.integers(0, 120_000),
                # Within a header, and where records end.
                st.tuples(st.integers(0, 9), st.integers(-2, 7)),
            ),
            max_size=12,
        ),
        st.lists(st.sampled_from([None, 5, 20_000]), max_size=4),
    )
    def test_cuts(
        self,
        version: int,
        sizes: list[int],
        cuts: list[int | tuple[int, int]],
        odd: list[int | None],
    ) -> None:
        """However the octets are cut, every record that is whole has come out."""
        client, server = pair(version)
        wire, plain = b"", b""
        whole = [(0, 0)]
        for number, size in enumerate(sizes):
            message = bytes([number + 65]) * size
            client.sendall(message)
            wire += sent(client)
            plain += message
            whole.append((len(wire), len(plain)))
        got, odds = b"", iter(odd)
        records = [0]
        while records[-1] < len(wire):
            at = records[-1]
            records.append(at + 5 + int.from_bytes(wire[at + 3 : at + 5], "big"))
        cut = {
            c if isinstance(c, int) else records[c[0] % len(records)] + c[1]
            for c in cuts
        }
        places = sorted({0, *(c for c in cut if 0 < c < len(wire)), len(wire)})
        for start, end in pairwise(places):
            server.bio_write(wire[start:end])
            asked = next(odds, None)
            if asked is not None:
                try:
                    got += server.recv(asked)
                except SSL.WantReadError:
                    pass
            octets, ended = drained(server)
            got += octets
            self.assertIs(ended, SSL.WantReadError)
            self.assertEqual(got, plain[: len(got)])
            # Of a message of several records some may be there already.
            self.assertGreaterEqual(
                len(got), max(octets for at, octets in whole if at <= end)
            )
        self.assertEqual(got, plain)

    def test_questions(self) -> None:
        """A flood is one piece; a lone line is one question."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            client, server = pair(version)
            for _ in range(3):
                client.sendall(b"line")
                server.bio_write(sent(client))
                before = server.asked
                self.assertEqual(drained(server), (b"line", SSL.WantReadError))
                self.assertEqual(server.asked - before, 1)
            for cut in (1, 4, 5, 6, 20):
                client.sendall(b"line")
                wire = sent(client)
                server.bio_write(wire[:cut])
                self.assertEqual(drained(server), (b"", SSL.WantReadError))
                before = server.asked
                server.bio_write(wire[cut:])
                self.assertEqual(drained(server), (b"line", SSL.WantReadError))
                self.assertEqual(server.asked - before, 1)
            client.sendall(b"x" * 60_000)
            server.bio_write(sent(client))
            self.assertEqual(len(server.recv(ASKED)), 60_000)
            self.assertRaises(SSL.WantReadError, server.recv, ASKED)

    def test_bounded(self) -> None:
        """However much has come at once, whoever takes it can stop between pieces."""
        client, server = pair(SSL.TLS1_3_VERSION)
        client.sendall(b"x" * 1_000_000)
        server.bio_write(sent(client))
        sizes = []
        for _ in range(100):
            try:
                sizes.append(len(server.recv(ASKED)))
            except SSL.WantReadError:
                break
        self.assertEqual(sum(sizes), 1_000_000)
        self.assertLess(max(sizes), GATHERED_OCTETS + PLAINTEXT_OCTETS_MAX)

    def test_ends(self) -> None:
        """The end, or an error, that came with octets comes behind them, with its reason."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            client, server = pair(version)
            client.sendall(b"last")
            client.shutdown()
            server.bio_write(sent(client))
            self.assertEqual(drained(server), (b"last", SSL.ZeroReturnError))
            client, server = pair(version)
            client.sendall(b"good")
            good = sent(client)
            client.sendall(b"bad")
            bad = bytearray(sent(client))
            bad[-1] ^= 1
            server.bio_write(good + bytes(bad))
            self.assertEqual(server.recv(ASKED), b"good")
            error = self.assertRaises(SSL.Error, server.recv, ASKED)
            self.assertIn("bad record mac", str(error))
            client.sendall(b"more")
            server.bio_write(sent(client))
            self.assertEqual(drained(server), (b"", SSL.Error))

    def test_noRecords(self) -> None:
        """What is no TLS, or a record longer than any, is refused when it comes."""
        for octets in (b"\x17\x03\x03\xff\xff" + bytes(100), b"GET / HTTP/1.1\r\n"):
            client, server = pair(SSL.TLS1_3_VERSION)
            client.sendall(b"line")
            server.bio_write(sent(client) + octets)
            self.assertEqual(drained(server), (b"line", SSL.Error))

    def test_empty(self) -> None:
        """Nothing received is nothing to read; a part of a header is none."""
        client, server = pair(SSL.TLS1_3_VERSION)
        self.assertEqual(drained(server), (b"", SSL.WantReadError))
        client.sendall(b"line")
        wire = sent(client)
        for at in range(len(wire) - 1):
            server.bio_write(wire[at : at + 1])
            self.assertEqual(drained(server), (b"", SSL.WantReadError))
        server.bio_write(wire[-1:])
        self.assertEqual(drained(server), (b"line", SSL.WantReadError))

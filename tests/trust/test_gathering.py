"""Tests for L{decnet_syslog.trust._gathering}: real TLS, over memory."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.trust._gathering import (
    GATHERED_OCTETS,
    GIVEN_OCTETS,
    PLAINTEXT_OCTETS_MAX,
    GatheringConnection,
)

from ..certificates import SERVER, certificate, key

# The number of octets that Twisted requests per read.
ASKED = 2**15

_KEY = key("holder")
_CERTIFICATE = certificate(["master"], usages=(SERVER,))


class _Counting(GatheringConnection):
    """Counts the calls to OpenSSL."""

    asked = 0

    def _raise_ssl_error(self, ssl: Any, result: int) -> None:
        self.asked += 1
        super()._raise_ssl_error(ssl, result)


def pair(version: int) -> tuple[SSL.Connection, _Counting]:
    """A client and a server after their handshake."""
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
    # Read the session tickets; calls of the handshake are not counted.
    for connection in (client, server):
        assert drained(connection) == (b"", SSL.WantReadError)
    return client, server


def sent(connection: SSL.Connection) -> bytes:
    """The octets that a connection has to send."""
    octets = b""
    while True:
        try:
            octets += connection.bio_read(2**20)
        except SSL.WantReadError:
            return octets


def drained(connection: SSL.Connection) -> tuple[bytes, type[Exception]]:
    """The plaintext that Twisted would deliver, and the exception at its end."""
    octets = b""
    while True:
        try:
            octets += connection.recv(ASKED)
        except SSL.Error as error:
            return octets, type(error)


VERSIONS = st.sampled_from([SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])


class GatheringTests(SynchronousTestCase):
    """Plaintext is delivered unchanged, as soon as possible."""

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
                # Inside a header, and at the ends of records.
                st.tuples(st.integers(0, 9), st.integers(-2, 7)),
            ),
            max_size=12,
        ),
        st.lists(st.sampled_from([None, 5, 20_000, "receive"]), max_size=12),
    )
    def test_anySplit(
        self,
        version: int,
        sizes: list[int],
        cuts: list[int | tuple[int, int]],
        odd: list[int | str | None],
    ) -> None:
        """However the octets are split, every complete record is delivered."""
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
            asked = next(odds, None)
            if asked == "receive":
                got += self.received(server, wire[start:end])
            else:
                server.bio_write(wire[start:end])
            if isinstance(asked, int):
                try:
                    got += server.recv(asked)
                except SSL.WantReadError:
                    pass
            octets, ended = drained(server)
            got += octets
            self.assertIs(ended, SSL.WantReadError)
            self.assertEqual(got, plain[: len(got)])
            # Of a message with several records, some may have arrived.
            self.assertGreaterEqual(
                len(got), max(octets for at, octets in whole if at <= end)
            )
        self.assertEqual(got, plain)

    def received(self, server: GatheringConnection, octets: bytes) -> bytes:
        """The plaintext from C{receive}. At its end there is no more."""
        plain = server.receive(octets)
        if server.isQuiet:
            self.assertNotEqual(plain, b"")
            self.assertEqual(drained(server), (b"", SSL.WantReadError))
            self.assertEqual(sent(server), b"")
        return plain

    def test_lonelyRecords(self) -> None:
        """A record that arrives alone is returned at once, with one call to OpenSSL."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            client, server = pair(version)
            for number in range(9):
                line = b"line %d" % number
                client.sendall(line)
                self.assertEqual(server.receive(sent(client)), line)
                self.assertTrue(server.isQuiet)
            self.assertEqual(drained(server), (b"", SSL.WantReadError))
            self.assertEqual(sent(server), b"")

    def test_lonelyRecordsThatAreNoOctets(self) -> None:
        """After a close_notify or a forged record alone, OpenSSL is asked further."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            client, server = pair(version)
            client.shutdown()
            self.assertEqual(server.receive(sent(client)), b"")
            self.assertFalse(server.isQuiet)
            self.assertEqual(drained(server), (b"", SSL.ZeroReturnError))
            client, server = pair(version)
            client.sendall(b"line")
            forged = bytearray(sent(client))
            forged[-1] ^= 1
            self.assertEqual(server.receive(bytes(forged)), b"")
            self.assertFalse(server.isQuiet)
            error = self.assertRaises(SSL.Error, server.recv, ASKED)
            self.assertIn("bad record mac", str(error))
            # The alert waits to be sent.
            self.assertNotEqual(sent(server), b"")

    def test_callsToOpenSSL(self) -> None:
        """A flood is delivered as one piece, and a single line takes one call."""
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

    def test_piecesAreBounded(self) -> None:
        """However many octets arrive at once, each read returns a bounded piece."""
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

    def test_floodLeavesNoMemory(self) -> None:
        """
        OpenSSL, which never gives back the memory for what waits in it, has little of a large
        receive at once. Afterwards none of the receive is kept.
        """
        given: list[int] = []
        write = SSL.Connection.bio_write

        def counted(connection: SSL.Connection, octets: Any) -> int:
            given.append(len(octets))
            return write(connection, octets)

        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            client, server = pair(version)
            client.sendall(b"x" * 250_000)
            receive = bytearray(sent(client))
            given.clear()
            with mock.patch.object(SSL.Connection, "bio_write", counted):
                server.bio_write(receive)
                self.assertEqual(len(server.recv(ASKED)), 250_000)
                self.assertRaises(SSL.WantReadError, server.recv, ASKED)
            self.assertEqual(sum(given), len(receive))
            self.assertLessEqual(max(given), GIVEN_OCTETS)
            # An array that others still use refuses this.
            receive.clear()

    def test_smallReadsOfFlood(self) -> None:
        """Reads of less than a record also reach the end of a large receive."""
        client, server = pair(SSL.TLS1_3_VERSION)
        client.sendall(b"x" * 250_000)
        server.bio_write(sent(client))
        read = 0
        while read < 250_000:
            read += len(server.recv(10_000))
        self.assertRaises(SSL.WantReadError, server.recv, 10_000)

    def test_secondReceiveBeforeEndOfFirst(self) -> None:
        """A receive that comes before the previous one was read is read after it."""
        client, server = pair(SSL.TLS1_3_VERSION)
        for octet in (b"a", b"b", b"c"):
            client.sendall(octet * 200_000)
            server.bio_write(sent(client))
        octets, ended = drained(server)
        self.assertIs(ended, SSL.WantReadError)
        self.assertEqual(octets, b"a" * 200_000 + b"b" * 200_000 + b"c" * 200_000)

    def test_endComesAfterOctets(self) -> None:
        """
        An end or an error that arrives together with octets is reported after them,
        with its reason.
        """
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

    def test_noTLSRecords(self) -> None:
        """
        Input that is not TLS, or a record over the maximum length, is refused on
        arrival.
        """
        for octets in (b"\x17\x03\x03\xff\xff" + bytes(100), b"GET / HTTP/1.1\r\n"):
            client, server = pair(SSL.TLS1_3_VERSION)
            client.sendall(b"line")
            server.bio_write(sent(client) + octets)
            self.assertEqual(drained(server), (b"line", SSL.Error))

    def test_incompleteRecord(self) -> None:
        """Without octets, or with an incomplete record, there is nothing to read."""
        client, server = pair(SSL.TLS1_3_VERSION)
        self.assertEqual(drained(server), (b"", SSL.WantReadError))
        client.sendall(b"line")
        wire = sent(client)
        for at in range(len(wire) - 1):
            server.bio_write(wire[at : at + 1])
            self.assertEqual(drained(server), (b"", SSL.WantReadError))
        server.bio_write(wire[-1:])
        self.assertEqual(drained(server), (b"line", SSL.WantReadError))

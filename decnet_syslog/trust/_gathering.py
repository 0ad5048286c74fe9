"""
TLS that returns everything a receive has brought in one piece.

Twisted asks a connection for octets until there are none, and passes each answer to the protocol.
An answer is one record: 16 KiB of a flood, a line of a trickle. So a flood costs four turns where
one would do; and half the questions of a trickle only learn that nothing more is there, which is
an error that OpenSSL makes and Python raises.

What must be true:

* the protocol gets everything that OpenSSL returns, in the same order: octets before the error that
  followed them. (OpenSSL has failed by then, so the peer does not receive an immediate answer to
  these octets. The peer broke the connection itself.)
* OpenSSL is left unasked only when it cannot have anything. The records that arrived whole are
  counted, and so are those that were read; when the counts are equal and no further octet has
  arrived, everything was read. Any other record (handshake, alert, key update) adds one to the
  arrived records, so then OpenSSL is asked.
* OpenSSL never gives back the memory for octets that it was given and has not read yet. So it gets
  the octets of a large receive piece by piece: otherwise each connection that was flooded once
  would hold as much as the largest receive until its end.

Set aside: reading into one buffer of ours (pyOpenSSL copies in any case).
"""

from __future__ import annotations

from OpenSSL import SSL

from ..boundaries import Foreign

__all__ = ["GatheringConnection"]

# Type, version and length in front of each record (RFC 8446 section 5.1).
HEADER_OCTETS = 5

# The most that a record can hold: if asked for less, OpenSSL may keep a part.
PLAINTEXT_OCTETS_MAX = 2**14

# The type of a record with octets of the peer's, and under TLS 1.3 of all others, too.
APPLICATION_DATA = 23

# About how much one answer returns: as much as a large receive takes from a socket. Rate limits
# apply between one piece and the next.
GATHERED_OCTETS = 2**18

# The most that OpenSSL is given at once, and as much as a receive has before the end of the
# handshake: a handshake must have all octets at once, because only C{recv} passes on the rest.
GIVEN_OCTETS = 2**16

_NOTHING = memoryview(b"")


class GatheringConnection(SSL.Connection):
    """
    A TLS connection over memory.

    @ivar unknownVersions: unknown versions of the delivery extension that the peer offered.
    @ivar refusal: see L{decnet_syslog.trust._verification.turnedAway}.
    @ivar isReported: see L{decnet_syslog.trust._verification.isReported}.
    """

    def __init__(self, context: SSL.Context) -> None:
        super().__init__(context, None)
        self.unknownVersions: list[str] = []
        self.refusal: object = None
        self.isReported = False
        # Octets missing from the record under way; an incomplete header.
        self._needed = 0
        self._header = b""
        # Received octets that OpenSSL has not been given yet.
        self._kept = _NOTHING
        # Records that arrived whole and were not read, since OpenSSL last had nothing.
        self._records = 0
        self._isDry = False
        self._later: Exception | None = None
        # Whether OpenSSL has nothing left to read, and had no reason to write.
        self.isQuiet = False
        self._isReading = False

    def receive(self, data: bytes) -> bytes:
        """
        Take received octets, and return the plaintext in them, up to a limit.

        If L{isQuiet} is true then, C{recv} and C{bio_read} have nothing to return: all records
        were octets of the peer's. Otherwise ask C{recv} until it raises.
        """
        size = len(data)
        if (
            size > HEADER_OCTETS
            and data[0] == APPLICATION_DATA
            and size == HEADER_OCTETS + (data[3] << 8 | data[4])
            and not (self._needed or self._header or self._records or self._later)
        ):
            # A line that travels alone: one whole record, and no earlier one.
            super().bio_write(data)
            self._isDry = False
            self._isReading = True
            try:
                plain = super().recv(size)
            except SSL.WantReadError:
                # Not the peer's octets after all, but a key update or nothing.
                self.isQuiet = False
                return b""
            except SSL.Error as error:
                self._later = error
                self.isQuiet = False
                return b""
            finally:
                self._isReading = False
            self.isQuiet = True
            return plain
        self.isQuiet = False
        self.bio_write(data)
        return b""

    def _raise_ssl_error(self, ssl: object, result: int) -> None:
        """Check the result of a call. Octets that were read after the handshake are no error."""
        if result <= 0 or not self._isReading:
            super()._raise_ssl_error(ssl, result)

    def bio_write(self, buf: Foreign) -> int:
        """Take received octets."""
        self._isDry = False
        data = self._header + buf if self._header else buf
        size = len(data)
        at = self._needed
        if 0 < at <= size:
            self._records += 1
        while at + HEADER_OCTETS <= size:
            at += HEADER_OCTETS + (data[at + 3] << 8 | data[at + 4])
            if at <= size:
                self._records += 1
        if at > size:
            self._needed, self._header = at - size, b""
        else:
            self._needed, self._header = 0, bytes(data[at:])
        if not self._kept and len(buf) <= GIVEN_OCTETS:
            return super().bio_write(buf)
        self._kept = memoryview(b"".join((self._kept, buf)) if self._kept else buf)
        self._give()
        return len(buf)

    def _give(self) -> bool:
        """Give OpenSSL the next octets; false if there are none."""
        if not self._kept:
            return False
        super().bio_write(self._kept[:GIVEN_OCTETS])
        # An empty view would keep all octets in memory.
        self._kept = self._kept[GIVEN_OCTETS:] or _NOTHING
        return True

    def _recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """As pyOpenSSL's C{recv}, from all received octets."""
        while True:
            try:
                return super().recv(bufsiz, flags)
            except SSL.WantReadError:
                if not self._give():
                    raise

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """
        All available octets in one piece, up to a limit.

        @param bufsiz: the size for one record. For less than a record, or with flags, this does
            the same as pyOpenSSL's C{recv}.
        @raise SSL.Error: as pyOpenSSL's C{recv}.
        """
        if flags is not None or bufsiz < PLAINTEXT_OCTETS_MAX:
            # The record that is read in part still counts as arrived.
            return self._recv(bufsiz, flags)
        if self._isDry:
            self._isDry = False
            raise SSL.WantReadError()
        if self._later is not None:
            later, self._later = self._later, None
            raise later
        pieces: list[bytes] = []
        gathered = 0
        try:
            while gathered < GATHERED_OCTETS:
                pieces.append(self._recv(bufsiz))
                gathered += len(pieces[-1])
                self._records -= 1
                if not (self._records or self._needed or self._header):
                    self._isDry = True
                    break
        except SSL.WantReadError:
            self._records = 0
            if not pieces:
                raise
            self._isDry = True
        except SSL.Error as error:
            if not pieces:
                raise
            self._later = error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

"""
TLS that gives at once what a receive has brought.

Twisted asks a connection for octets until there are none, and hands each answer to the
protocol. An answer is a record: 16 KiB of a flood, a line of a trickle. So a flood costs
four turns where one would do; and half the questions of a trickle are there to hear that
there was nothing more, which is an error that OpenSSL makes and Python raises.

What must be true:

* whatever OpenSSL says, the protocol hears, in the same order: octets before the error that
  followed them. (OpenSSL has failed by then: what is answered to these octets at once, the
  peer does not hear any more. It has broken the connection itself.)
* it is left unasked only when it must have nothing. A record that was read had come; when
  as many were read as have come whole, and nothing has come behind them, all were read. Any
  other record (of the handshake, an alert, a new key) is one more that has come, so then it
  is asked.

Set aside: reading into one buffer of ours (pyOpenSSL copies all the same).
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

__all__ = ["GatheringConnection"]

# Type, version and length in front of each record (RFC 8446 section 5.1).
HEADER_OCTETS = 5

# What a record can hold: asked for less, OpenSSL may keep some of it.
PLAINTEXT_OCTETS_MAX = 2**14

# What is given at once, about: what Twisted takes from a socket. Whoever paces a peer does it
# between one piece and the next.
GATHERED_OCTETS = 2**16


class GatheringConnection(SSL.Connection):
    """
    A connection over memory.

    @ivar unknownVersions: of the delivery extension, offered by a peer with none that we have.
    @ivar refusal: see L{decnet_syslog.trust.verification.turnedAway}.
    @ivar isReported: see L{decnet_syslog.trust.verification.isReported}.
    """

    def __init__(self, context: SSL.Context) -> None:
        super().__init__(context, None)
        self.unknownVersions: list[str] = []
        self.refusal: object = None
        self.isReported = False
        # Octets that the record under way still needs; a header that is not complete.
        self._needed = 0
        self._header = b""
        # Records that have come whole and were not read, since OpenSSL last had nothing.
        self._records = 0
        self._isDry = False
        self._later: Exception | None = None

    def bio_write(self, buf: Any) -> int:
        """Take what was received."""
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
        return super().bio_write(buf)

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """
        All that there is, in one piece, or so much of it.

        @param bufsiz: of one record. For less than one, or with flags, it is as pyOpenSSL's.
        @raise SSL.Error: as pyOpenSSL's.
        """
        if flags is not None or bufsiz < PLAINTEXT_OCTETS_MAX:
            # Of a record that is not read whole it is still to come.
            return super().recv(bufsiz, flags)
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
                pieces.append(super().recv(bufsiz))
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

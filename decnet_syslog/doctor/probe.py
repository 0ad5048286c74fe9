"""
The way to the master and back: name, TCP, TLS in both directions, ALPN, an answer.

What is asked is asked with C{LIST}: the listener answers it from its journal's thread,
behind every commit that waits there, and writes nothing. So a round trip shows that the
master works, and leaves no line, no stream and no gap behind; a forwarder that runs keeps
its streams, because none is opened.
"""

from __future__ import annotations

import select
import socket
import time
from typing import Any

from OpenSSL import SSL

from ..trust.contexts import DELIVERY_PROTOCOLS, ForwarderContext, Refusal
from ..trust.refusals import remedyFor, toldByAlert, toldByCode
from ..wire.control import (
    BYE,
    HELLO,
    KNOWN,
    LIST,
    LISTED,
    MARK,
    ControlError,
    ControlLine,
    encodeControl,
    parseControl,
)
from .report import Report

__all__ = ["Unanswered", "askMaster", "explainAlert", "explainRefusal"]

# For each step. A master that needs longer would be cut by the forwarder, too.
PATIENCE_S = 10.0

# A refusal under TLS 1.3 comes behind our handshake; a plain peer says nothing else.
REFUSAL_S = 1.5

# A control line has at most 12,544 octets, and a listener of ours keeps 4,096 streams of a
# worker: who sends more than this is none.
LINE_OCTETS_MAX = 128 * 1024
KNOWN_MAX = 65536

RECEIVE_OCTETS = 65536


class Unanswered(Exception):
    """
    A step failed.

    @ivar said: what was seen.
    @ivar cure: what to do.
    """

    def __init__(self, said: str, cure: str) -> None:
        super().__init__(said)
        self.said = said
        self.cure = cure


def explainRefusal(refusal: Refusal, name: str) -> tuple[str, str]:
    """Why we do not believe who answers, and what to do."""
    return f"{refusal} answers", remedyFor(refusal, name)


_ALERTS = (
    (
        "handshake failure",
        "there is no cipher that both ends have",
        "see which TLS the master speaks: 1.2 with ECDHE and AEAD, or newer",
    ),
    (
        "protocol version",
        "there is no version of TLS that both ends have",
        "the master must speak TLS 1.2 or newer",
    ),
)

_OTHER = (
    "wrong version number",
    "packet length too long",
    "http request",
    "unknown protocol",
    "record layer failure",
    "bad record type",
)


def explainAlert(error: SSL.Error) -> tuple[str, str]:
    """What an error of TLS means here."""
    reasons = error.args[0] if error.args else ()
    text = "; ".join([str(entry[-1]) for entry in reasons]) or "TLS ended"
    if any(word in text for word in _OTHER):
        return (
            f"what answers does not speak TLS ({text})",
            "see what listens there; rsyslog and syslog-ng need TLS on this port",
        )
    told = toldByAlert(error)
    if told is not None:
        return f"{told.reason} ({text})", told.remedy
    if "alert" in text:
        for word, meaning, cure in _ALERTS:
            if word in text:
                return f"{meaning} ({text})", cure
    return text, "the master's log says more"


class _Bare:
    """
    What Twisted asks a TLS protocol for when it makes a connection: a factory that may
    know ALPN protocols. This one does not.
    """

    wrappedFactory = None

    def __init__(self) -> None:
        self.factory = self


class _Line:
    """A TLS connection on a blocking socket, with deadlines."""

    def __init__(self, plain: socket.socket, context: ForwarderContext) -> None:
        self._plain = plain
        self.tls: Any = context.clientConnectionForTLS(_Bare())
        self.tls.set_connect_state()
        self.held = b""

    def _flush(self) -> None:
        while True:
            try:
                octets = self.tls.bio_read(RECEIVE_OCTETS)
            except SSL.WantReadError:
                return
            self._plain.sendall(octets)

    def _fill(self, deadline: float) -> bool:
        """Get more octets. False: the peer has closed."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._plain], [], [], left)[0]:
            raise TimeoutError
        octets = self._plain.recv(RECEIVE_OCTETS)
        if octets:
            self.tls.bio_write(octets)
        return bool(octets)

    def handshake(self, patience: float) -> None:
        """
        Shake hands.

        @raise SSL.Error: it is refused.
        @raise TimeoutError: nobody answers.
        @raise EOFError: the peer hangs up.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                self._flush()
                if not self._fill(deadline):
                    raise EOFError from None
            except SSL.Error:
                self._flush()
                raise
            else:
                self._flush()
                return

    def send(self, line: ControlLine) -> None:
        """Send a control line."""
        self.tls.send(encodeControl(line))
        self._flush()

    def receive(self, patience: float) -> ControlLine:
        """
        The next control line.

        @raise SSL.Error: we are refused.
        @raise TimeoutError: nothing comes.
        @raise EOFError: the peer hangs up.
        @raise ControlError: it is none.
        """
        deadline = time.monotonic() + patience
        while b"\n" not in self.held:
            if len(self.held) > LINE_OCTETS_MAX:
                raise ControlError("a line without an end", self.held[:80])
            try:
                self.held += self.tls.recv(RECEIVE_OCTETS)
            except SSL.WantReadError:
                if not self._fill(deadline):
                    raise EOFError from None
            except SSL.ZeroReturnError:
                raise EOFError from None
        line, self.held = self.held.split(b"\n", 1)
        return parseControl(line)


def _resolve(report: Report, host: str, port: int, resolve: Any) -> list[Any]:
    try:
        found = resolve(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        report.fail(
            "name",
            f"{host}: {getattr(error, 'strerror', None) or error}",
            "look at --master-host, and at /etc/resolv.conf; an address works, too",
        )
        return []
    report.ok("name", f"{host} is {', '.join(sorted({f[4][0] for f in found}))}")
    return list(found)


def _connect(report: Report, found: list[Any], patience: float) -> socket.socket | None:
    refused = []
    for family, kind, protocol, _, address in found:
        plain = socket.socket(family, kind, protocol)
        plain.settimeout(patience)
        try:
            plain.connect(address)
        except OSError as error:
            plain.close()
            refused.append(f"{address[0]} port {address[1]}: {error.strerror or error}")
            continue
        if refused:
            report.note(
                "TCP",
                f"{address[0]} answers, but not {'; '.join(refused)}",
                "take the address that does not answer out of the name, or open it",
            )
        else:
            report.ok("TCP", f"{address[0]} port {address[1]} answers")
        return plain
    report.fail(
        "TCP",
        "; ".join(refused),
        "refused: start the listener there, or correct --master-port; timed out: a firewall"
        " between here and there must let the port through",
    )
    return None


def askMaster(
    report: Report,
    host: str,
    port: int,
    context: ForwarderContext,
    masterName: str,
    delivery: str,
    messageOctetsMax: int,
    *,
    resolve: Any = socket.getaddrinfo,
    patience: float = PATIENCE_S,
) -> None:
    """
    Go to the master and back.

    @param delivery: auto, acked or plain, as the forwarder has it.
    """
    found = _resolve(report, host, port, resolve)
    plain = _connect(report, found, patience) if found else None
    if plain is None:
        return
    with plain:
        line = _Line(plain, context)
        step = "TLS"
        try:
            line.handshake(patience)
            report.ok(
                "TLS",
                f"{line.tls.get_protocol_version_name()}; who answers is {masterName}",
            )
            extended = line.tls.get_alpn_proto_negotiated() in DELIVERY_PROTOCOLS
            _judge(report, extended, delivery)
            step = "acceptance"
            if extended:
                hello = _greeting(line, patience)
                report.ok("acceptance", "the master accepts our certificate")
                step = "round trip"
                _roundTrip(report, line, patience)
                _compare(report, hello, messageOctetsMax)
            else:
                _wait(report, line)
        except Unanswered as failed:
            report.fail(step, failed.said, failed.cure)
        except SSL.Error as error:
            refusal = context.lastRefusal
            if step == "TLS" and refusal is not None:
                report.fail(step, *explainRefusal(refusal, masterName))
            else:
                report.fail(step, *explainAlert(error))
        except TimeoutError:
            report.fail(
                step,
                f"no answer in {patience:g} s",
                "look at the listener's log, and at its machine: it is there and does not work",
            )
        except (EOFError, OSError) as error:
            report.fail(
                step,
                f"the other end hangs up: {error or 'closed'}",
                "look at the listener's log: it says why it closes a connection",
            )
        except ControlError as error:
            report.fail(
                step,
                f"what answers is no listener of ours: {error}",
                "see what listens there",
            )


def _judge(report: Report, extended: bool, delivery: str) -> None:
    if extended:
        report.ok("ALPN", "decnet-syslog: every line is acknowledged")
    elif delivery == "acked":
        report.fail(
            "ALPN",
            "the master does not acknowledge, and --delivery=acked asks for it: nothing is sent",
            "point --master-host to a decnet-listener; a proxy that ends TLS takes it away, too",
        )
    elif delivery == "auto":
        report.note(
            "ALPN",
            "plain RFC 5425: the master does not acknowledge",
            "lines may be lost when it crashes; --delivery=acked waits for one that does",
        )
    else:
        report.ok("ALPN", "plain RFC 5425, as --delivery=plain asks for")


def _greeting(line: _Line, patience: float) -> HELLO:
    said = line.receive(patience)
    if isinstance(said, BYE):
        told = toldByCode(said.code)
        if told is not None:
            raise Unanswered(f"{told.reason}: {said.code}: {said.text}", told.remedy)
        raise Unanswered(
            f"the master sends us away: {said.code}: {said.text}",
            "its limits and its log say more",
        )
    if not isinstance(said, HELLO):
        raise ControlError("no greeting", encodeControl(said)[:80])
    return said


def _roundTrip(report: Report, line: _Line, patience: float) -> None:
    began = time.monotonic()
    line.send(LIST())
    streams = octets = 0
    while True:
        said = line.receive(patience)
        if isinstance(said, LISTED):
            break
        if isinstance(said, BYE):
            raise Unanswered(
                f"the master ends it: {said.code}: {said.text}",
                "no-space: make room on the master; else see its log",
            )
        if isinstance(said, MARK):
            continue
        if not isinstance(said, KNOWN):
            raise ControlError("no answer to LIST", encodeControl(said)[:80])
        streams += 1
        octets += said.offset
        if streams > KNOWN_MAX:
            raise ControlError("a list without an end", b"")
    took = (time.monotonic() - began) * 1000
    report.ok(
        "round trip",
        f"the master's journal has answered in {took:.0f} ms; it holds {octets} octets of"
        f" {streams} files of this worker",
    )
    line.send(BYE("shutdown", "the doctor has seen enough"))
    line.tls.shutdown()
    line._flush()


def _compare(report: Report, hello: HELLO, messageOctetsMax: int) -> None:
    if hello.messageOctetsMax < messageOctetsMax:
        report.note(
            "longest line",
            f"the master takes {hello.messageOctetsMax} octets, --max-message is"
            f" {messageOctetsMax}",
            "longer lines become gap records: raise the listener's --max-message",
        )
    else:
        report.ok("longest line", f"the master takes {hello.messageOctetsMax} octets")


def _wait(report: Report, line: _Line) -> None:
    try:
        line.receive(REFUSAL_S)
    except TimeoutError:
        report.ok(
            "acceptance",
            f"no refusal in {REFUSAL_S} s; plain RFC 5425 has no other answer",
        )
        return
    raise ControlError("it speaks, which RFC 5425 does not", b"")

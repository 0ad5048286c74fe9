"""
A test of the connection to the master: name, TCP, TLS in both directions, ALPN, an answer.

The question is C{LIST}: the listener answers it from its journal's thread, after every commit that
waits there, and writes nothing. So the round trip shows that the master works, and leaves no line,
no stream and no gap; a running forwarder keeps its streams, because the test opens none.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from OpenSSL import SSL

from ..trust import (
    DELIVERY_PROTOCOLS,
    ForwarderContext,
    toldByCode,
)
from ..wire import (
    BYE,
    HELLO,
    KNOWN,
    LIST,
    LISTED,
    MARK,
    ControlError,
    encodeControl,
)
from ._controlconnection import ControlConnection
from ._explanations import explainAlert, explainRefusal
from ._report import DoctorReport

__all__ = ["Unanswered", "askMaster"]

# The time for each step, in seconds. The forwarder, too, would cut a slower master.
PATIENCE_S = 10.0

# Under TLS 1.3 a refusal comes after our handshake; a plain peer sends nothing else.
REFUSAL_S = 1.5

# Our listener keeps 4,096 streams of a worker: a peer that lists more is not our listener.
KNOWN_MAX = 65536


class Unanswered(Exception):
    """
    A step failed.

    @ivar said: the observation.
    @ivar cure: the remedy.
    """

    def __init__(self, said: str, cure: str) -> None:
        super().__init__(said)
        self.said = said
        self.cure = cure


# An address, as of C{socket.getaddrinfo}.
Resolved: TypeAlias = tuple[int, int, int, str, tuple[object, ...]]
Resolve: TypeAlias = Callable[..., Sequence[Resolved]]


def _resolve(
    report: DoctorReport, host: str, port: int, resolve: Resolve
) -> list[Resolved]:
    try:
        found = resolve(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        report.fail(
            "name",
            f"{host}: {getattr(error, 'strerror', None) or error}",
            "check --master-host and /etc/resolv.conf; an IP address works, too",
        )
        return []
    report.ok(
        "name", f"{host} resolves to {', '.join(sorted({str(f[4][0]) for f in found}))}"
    )
    return list(found)


def _connect(
    report: DoctorReport, found: list[Resolved], patience: float
) -> socket.socket | None:
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
                "remove the address that does not answer from the name, or open it",
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
    report: DoctorReport,
    host: str,
    port: int,
    context: ForwarderContext,
    masterName: str,
    delivery: str,
    messageOctetsMax: int,
    *,
    resolve: Resolve = socket.getaddrinfo,
    patience: float = PATIENCE_S,
) -> None:
    """
    Test the connection to the master.

    @param delivery: auto, acked or plain, as the forwarder's option.
    """
    found = _resolve(report, host, port, resolve)
    plain = _connect(report, found, patience) if found else None
    if plain is None:
        return
    with plain:
        line = ControlConnection(plain, context)
        step = "TLS"
        try:
            line.handshake(patience)
            report.ok(
                "TLS",
                f"{line.tls.get_protocol_version_name()}; the peer is {masterName}",
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
                "check the listener's log and its machine: it accepts connections but does not"
                " answer",
            )
        except (EOFError, OSError) as error:
            report.fail(
                step,
                f"the peer closed the connection: {error or 'closed'}",
                "see the listener's log for the reason",
            )
        except ControlError as error:
            report.fail(
                step,
                f"the peer is not a decnet-listener: {error}",
                "find the program on that port",
            )


def _judge(report: DoctorReport, extended: bool, delivery: str) -> None:
    if extended:
        report.ok("ALPN", "decnet-syslog: every line is acknowledged")
    elif delivery == "acked":
        report.fail(
            "ALPN",
            "the master does not acknowledge, but --delivery=acked requires it: nothing is sent",
            "point --master-host to a decnet-listener; a proxy that ends TLS also removes ALPN",
        )
    elif delivery == "auto":
        report.note(
            "ALPN",
            "plain RFC 5425: the master does not acknowledge",
            "lines can be lost when it crashes; --delivery=acked waits for one that acknowledges",
        )
    else:
        report.ok("ALPN", "plain RFC 5425, as --delivery=plain requires")


def _greeting(line: ControlConnection, patience: float) -> HELLO:
    said = line.receive(patience)
    if isinstance(said, BYE):
        told = toldByCode(said.code)
        if told is not None:
            raise Unanswered(f"{told.reason}: {said.code}: {said.text}", told.remedy)
        raise Unanswered(
            f"the master closed the connection: {said.code}: {said.text}",
            "check its limits and its log",
        )
    if not isinstance(said, HELLO):
        raise ControlError("no greeting", encodeControl(said)[:80])
    return said


def _roundTrip(report: DoctorReport, line: ControlConnection, patience: float) -> None:
    began = time.monotonic()
    line.send(LIST())
    streams = octets = 0
    while True:
        said = line.receive(patience)
        if isinstance(said, LISTED):
            break
        if isinstance(said, BYE):
            raise Unanswered(
                f"the master closed the connection: {said.code}: {said.text}",
                "no-space: free space on the master; otherwise see its log",
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
        f"the master's journal answered in {took:.0f} ms; it holds {octets} octets of {streams}"
        " files of this worker",
    )
    line.send(BYE("shutdown", "the doctor has finished"))
    line.tls.shutdown()
    line.flush()


def _compare(report: DoctorReport, hello: HELLO, messageOctetsMax: int) -> None:
    if hello.messageOctetsMax < messageOctetsMax:
        report.note(
            "longest line",
            f"the master accepts {hello.messageOctetsMax} octets, but --max-message is"
            f" {messageOctetsMax}",
            "longer lines become gap records: raise the listener's --max-message",
        )
    else:
        report.ok("longest line", f"the master accepts {hello.messageOctetsMax} octets")


def _wait(report: DoctorReport, line: ControlConnection) -> None:
    try:
        line.receive(REFUSAL_S)
    except TimeoutError:
        report.ok(
            "acceptance",
            f"no refusal in {REFUSAL_S} s; plain RFC 5425 has no other answer",
        )
        return
    raise ControlError("it sends octets, which RFC 5425 receivers do not", b"")

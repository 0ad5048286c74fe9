"""Octets to values and back: framing, control lines, RFC 5424, DECNET records."""

from typing import TYPE_CHECKING

from .._lazy import lazily

if TYPE_CHECKING:
    from ._control import (
        ACK,
        AGES_MAX,
        AT,
        BEAT,
        BYE,
        CLOSE,
        EMPTY,
        HELLO,
        HELLO2,
        HISTORY,
        KNOWN,
        LAG,
        LAST,
        LIMIT,
        LIST,
        LISTED,
        MARK,
        NAMES_OCTETS_MAX,
        NUMBER_MAX,
        OPEN,
        REPORT,
        RESUME,
        SEEN,
        SKIP,
        STATE,
        TROUBLE,
        ControlError,
        ControlLine,
        encodeControl,
        octetsOf,
        parseControl,
    )
    from ._diagnosis import diagnose, diagnoseHandshake
    from ._framing import (
        MESSAGE_OCTETS_MAX,
        FramingError,
        Lines,
        Oversize,
        encodeFrames,
    )
    from ._gap import GapRecord, renderGapMessage, renderGapRecord
    from ._hostname import firstContradiction
    from ._protocol import OctetCountedReceiver
    from ._proxyheader import ProxyError, ProxyHeader, parseProxyHeader
    from ._record import MISMATCH, Provenance, renderLines, renderRuns
    from ._report import (
        STATES_MAX,
        TROUBLES_MAX,
        ForwarderReport,
        ReportGatherer,
        TooMuch,
    )

__all__ = [
    "ACK",
    "AGES_MAX",
    "AT",
    "BEAT",
    "BYE",
    "CLOSE",
    "EMPTY",
    "HELLO",
    "HELLO2",
    "HISTORY",
    "KNOWN",
    "LAG",
    "LAST",
    "LIMIT",
    "LIST",
    "LISTED",
    "MARK",
    "MESSAGE_OCTETS_MAX",
    "MISMATCH",
    "NAMES_OCTETS_MAX",
    "NUMBER_MAX",
    "OPEN",
    "REPORT",
    "RESUME",
    "SEEN",
    "SKIP",
    "STATE",
    "STATES_MAX",
    "TROUBLE",
    "TROUBLES_MAX",
    "ControlError",
    "ControlLine",
    "ForwarderReport",
    "FramingError",
    "GapRecord",
    "Lines",
    "OctetCountedReceiver",
    "Oversize",
    "Provenance",
    "ProxyError",
    "ProxyHeader",
    "ReportGatherer",
    "TooMuch",
    "diagnose",
    "diagnoseHandshake",
    "encodeControl",
    "encodeFrames",
    "firstContradiction",
    "octetsOf",
    "parseControl",
    "parseProxyHeader",
    "renderGapMessage",
    "renderGapRecord",
    "renderLines",
    "renderRuns",
]

if not TYPE_CHECKING:
    # A forwarder must not load what only a master needs.
    __getattr__ = lazily(
        __name__,
        _control=(
            "ACK AGES_MAX AT BEAT BYE CLOSE ControlError ControlLine EMPTY HELLO "
            "HELLO2 HISTORY KNOWN LAG LAST LIMIT LIST LISTED MARK NAMES_OCTETS_MAX "
            "NUMBER_MAX OPEN REPORT RESUME SEEN SKIP STATE TROUBLE encodeControl "
            "octetsOf parseControl"
        ),
        _diagnosis="diagnose diagnoseHandshake",
        _framing="FramingError Lines MESSAGE_OCTETS_MAX Oversize encodeFrames",
        _gap="GapRecord renderGapMessage renderGapRecord",
        _hostname="firstContradiction",
        _protocol="OctetCountedReceiver",
        _proxyheader="ProxyError ProxyHeader parseProxyHeader",
        _record="MISMATCH Provenance renderLines renderRuns",
        _report="ForwarderReport ReportGatherer STATES_MAX TROUBLES_MAX TooMuch",
    )

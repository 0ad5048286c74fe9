"""Octets to values and back: framing, control lines, RFC 5424, DECNET records."""

from typing import TYPE_CHECKING

from .._lazy import lazily

if TYPE_CHECKING:
    from ._control import ControlError, encodeControl, parseControl
    from ._delivering import ACK, AT, EMPTY, LAST, SKIP
    from ._diagnosis import diagnose, diagnoseHandshake
    from ._fields import (
        AGES_MAX,
        EMPTY_LINES_MAX,
        NAMES_OCTETS_MAX,
        NUMBER_MAX,
        ControlLine,
        octetsOf,
    )
    from ._framing import (
        MESSAGE_OCTETS_MAX,
        FramingError,
        Lines,
        Oversize,
        encodeFrames,
    )
    from ._gap import GapRecord, renderGapMessage, renderGapRecord
    from ._hello import BYE, HELLO, HELLO2, HISTORY, MARK, SEEN
    from ._hostname import firstContradiction
    from ._opening import CLOSE, KNOWN, LIST, LISTED, OPEN, RESUME
    from ._protocol import OctetCountedReceiver
    from ._provenance import Provenance
    from ._proxyheader import ProxyError, ProxyHeader, parseProxyHeader
    from ._record import MISMATCH, renderLines, renderRuns
    from ._report import (
        STATES_MAX,
        TROUBLES_MAX,
        ForwarderReport,
        ReportGatherer,
        TooMuch,
    )
    from ._state import BEAT, LAG, LIMIT, REPORT, STATE, TROUBLE

__all__ = [
    "ACK",
    "AGES_MAX",
    "AT",
    "BEAT",
    "BYE",
    "CLOSE",
    "EMPTY",
    "EMPTY_LINES_MAX",
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
        _control="ControlError encodeControl parseControl",
        _delivering="ACK AT EMPTY LAST SKIP",
        _diagnosis="diagnose diagnoseHandshake",
        _fields="AGES_MAX ControlLine EMPTY_LINES_MAX NAMES_OCTETS_MAX NUMBER_MAX octetsOf",
        _framing="FramingError Lines MESSAGE_OCTETS_MAX Oversize encodeFrames",
        _gap="GapRecord renderGapMessage renderGapRecord",
        _hello="BYE HELLO HELLO2 HISTORY MARK SEEN",
        _hostname="firstContradiction",
        _opening="CLOSE KNOWN LIST LISTED OPEN RESUME",
        _protocol="OctetCountedReceiver",
        _proxyheader="ProxyError ProxyHeader parseProxyHeader",
        _provenance="Provenance",
        _record="MISMATCH renderLines renderRuns",
        _report="ForwarderReport ReportGatherer STATES_MAX TROUBLES_MAX TooMuch",
        _state="BEAT LAG LIMIT REPORT STATE TROUBLE",
    )

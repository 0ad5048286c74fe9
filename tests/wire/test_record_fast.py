"""
Tests that the fast path of L{decnet_syslog.wire._commonrecord} renders exactly like its
definition.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.wire import _commonrecord, _record
from decnet_syslog.wire import _decnet as decnet
from decnet_syslog.wire._provenance import Provenance
from decnet_syslog.wire._record import renderRuns

from ..records import record, renderRecords

WHO = Provenance(
    "w1", "sha-256:AA", "192.0.2.1:5", "2026-04-18T01:02:03.000004Z", None, False
)

HEAD = b"<134>1 2026-04-18T00:00:00.123456+00:00 decky04 ssh 1234 auth [relay@55555"
MANY = [b' n%d="v"' % number for number in range(31)]
COMMON = [
    HEAD + b' src_ip="203.0.113.7:51234" user="root" password="b64="] login failed',
    HEAD + b' a="" ip="" b="]"]',
    HEAD + b' src_ip="1.2.3.4" remote_port="7"] said "a" and "b"] "c"',
    HEAD + b' src="::1" x="] y" z="] [other"] [other a="1" ] x',
    HEAD + b"".join(MANY) + b' src_ip="[::1]:80"] x',
    HEAD.replace(b"auth", b"a%b%%") + b' remote_addr="%s" c="%"]  %d ',
    HEAD.replace(b"04-18", b"02-28").replace(b".123456+00:00", b".1Z") + b' ip="x"] x',
]
ADDRESSES = [
    HEAD + b' src="2001:db8::1:49255" a="b"] x',
    HEAD + b' src="::ffff:192.0.2.1:22"] x',
    HEAD + b' src="[2001:db8::1]"] x',
    HEAD + b' src="fe80::1%eth0:22" remote_port="7"] x',
    HEAD + b' src="[]:22"] x',
    HEAD + b' src="[[]"] x',
    HEAD + b' src="2001:db8::1:22"] x',
]
# A second apparent end is left to the exact path.
LINES = [*COMMON, HEAD + b' src="1" z="] [other"] [other a="1"] x']
# Octets that are inserted, or replace others.
BITS = [
    *[bytes([octet]) for octet in b' "[]\\=%:.<>1-+Z{|\n\t\r\x00\x1f\x7f\x85\xff'],
    *[b'"]', b'"] ', b' "', b'="', b'" ', b'""', b'] "', b' src_ip="', b"\xc3\xa9"],
    *[b"", b"Unknown", b"T24:00:00", b"-", b"- ", b' ip="Unknown"', b'] [other x="1"]'],
    *[
        b"0000-",
        b"-02-29",
        b"-02-30",
        b"2024-02-29",
        b".",
        b"+24:00",
        b"b64=",
        b' n1="',
    ],
]


@st.composite
def almost(draw: st.DrawFn) -> bytes:
    """A common line with up to three octets inserted, deleted or replaced."""
    line = draw(st.sampled_from(LINES))
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(line)))
        end = begin + draw(st.sampled_from([0, 0, 1, 1, 2, 5]))
        line = line[:begin] + draw(st.sampled_from(BITS)) + line[end:]
    return line


# A worker whose decoys have other names, and one whose decoys share its name.
MARKING = [
    replace(WHO, flagHostnameMismatch=True),
    replace(WHO, flagHostnameMismatch=True, worker="DECKY04"),
]


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Gives a function for the octets of memory that were taken and not given back."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def exactly(many: list[bytes], start: int | None, who: Provenance = WHO) -> bytes:
    """The records of messages by the definition."""
    made = []
    for message in many:
        made.append(json.dumps(record(message, who, start)).encode("ascii") + b"\n")
        if start is not None:
            start += len(message) + 1
    return b"".join(made)


class CommonTests(SynchronousTestCase):
    """Cached, copied and joined parts equal the definition's."""

    def check(self, many: list[bytes], start: int | None = 7) -> None:
        """Check that the records are the exact ones, whatever is in the caches."""
        for who in (WHO, *MARKING):
            wanted = exactly(many, start, who)
            self.assertEqual(renderRecords(many, who, start), wanted)
        # Also together with a message that is not plain.
        self.assertEqual(
            renderRecords([*many, b"\xff"], WHO, start),
            exactly([*many, b"\xff"], start),
        )

    def uncommon(self, many: list[bytes]) -> int:
        """The number of messages that take the exact path."""
        with mock.patch.object(_record, "read", side_effect=decnet.read) as read:
            b"".join(renderRuns(many, WHO, 0))
            return read.call_count

    def test_linesAreCommon(self) -> None:
        """
        The lines of these tests take the fast path, so that two different paths are
        compared.
        """
        self.assertEqual(self.uncommon([*COMMON, *ADDRESSES]), 0)
        self.assertEqual(self.uncommon([*COMMON, b"\xff", b"a\nb"]), 2)
        self.check([*LINES, *ADDRESSES])

    @settings(deadline=None, derandomize=True, database=None, max_examples=1500)
    @given(
        st.lists(almost(), min_size=1, max_size=8), st.none() | st.integers(0, 2**62)
    )
    @example([b'] x"', b"]", b'"', b'"] ', b'"]', b"", b'""] x'], 0)
    @example([HEAD + b' src_ip="1" a="] x'], 0)
    @example([HEAD + b' src_ip="1"] ' + b'"' * 70], 0)
    @example([HEAD + b' src_ip="1"' + b"".join(MANY) + b' b="2"] x'], 0)
    def test_slightlyDifferentLines(self, many: list[bytes], start: int | None) -> None:
        """
        Lines that differ slightly from common ones are rendered exactly, in mixed
        batches.
        """
        self.check(many, start)

    def test_everyPlace(self) -> None:
        """
        Any octet inserted or replaced at any place of any line is rendered exactly.
        """
        for line in LINES:
            for bit in BITS:
                places = range(len(line) + 1)
                self.check([line[:at] + bit + line[at:] for at in places])
                width = max(1, len(bit))
                self.check([line[:at] + bit + line[at + width :] for at in places])

    def test_validAndInvalidTimes(self) -> None:
        """Valid and invalid days and times are rendered exactly."""
        stamps = [
            f"{day}T{time}{rest}"
            for day in (
                *("2024-02-29", "2026-02-29", "1900-02-29", "2000-02-29", "2026-02-28"),
                *("0000-01-01", "2026-04-31", "2026-00-10", "2026-13-01", "2026-12-31"),
            )
            for time in ("00:00:00", "24:00:00", "23:60:00", "23:59:60", "23:59:59")
            for rest in (
                *(".1Z", ".123456Z", ".1234567-23:59", "Z", "", ".", ".Z", ".1", ".1z"),
                *(".1+24:00", ".1+23:60", ",1Z", "..1Z", ".1.1Z", ".1+0000", ".1+00"),
            )
        ]
        line = LINES[0].replace(b"2026-04-18T00:00:00.123456+00:00", b"%b")
        self.check([line % stamp.encode("ascii") for stamp in stamps])

    def test_cachesAreBounded(self) -> None:
        """The caches forget the oldest of many new values, and keep no long ones."""
        line, second = LINES[0], LINES[0].index(b":00:00.") + 4
        self.patch(_commonrecord, "KNOWN_MAX", 8)
        many = [
            line[:second] + b"%02d" % (number % 60) + line[second + 2 :]
            for number in range(5000)
        ]
        many = [
            text.replace(b"decky04", b"decky%d" % number)
            for number, text in enumerate(many)
        ]
        long = [line.replace(b"decky04", b"n" * 50_000 + b"%d" % n) for n in range(100)]
        for lines in (many, long):
            self.check(lines[:8])
            with traced() as kept:
                for text in lines:
                    b"".join(renderRuns([text], WHO, 0))
                self.assertLess(kept(), 100_000)
        self.assertEqual(self.uncommon([line, *many, *long]), 0)

"""Tests for L{decnet_syslog.wire._record}."""

from __future__ import annotations

import json
import tracemalloc
from base64 import b64decode
from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.wire._provenance import Provenance

from ..records import record, renderRecords
from ..rfc5424 import MessageError, parseMessage

NOW = "2026-04-18T01:02:03.000004Z"
WHO = Provenance("w1", "sha-256:AA", "192.0.2.1:5", NOW, "/var/log/x", False)

DECNET_KEYS = [
    "timestamp",
    "decky",
    "service",
    "event_type",
    "attacker_ip",
    "fields",
    "msg",
    "raw_line",
]
KEYS = [
    *DECNET_KEYS,
    "source_worker",
    "source_fingerprint",
    "source_address",
    "source_log",
    "source_offset",
    "received_at",
]

quick = settings(deadline=None, derandomize=True, database=None, max_examples=400)

PIECES = [
    b"<134>1",
    b" ",
    b"-",
    b"[relay@55555",
    b' a="',
    b'"',
    b"]",
    b"\\",
    b"src_ip=",
    b"from ",
    b"2026-04-18T00:00:00Z",
    b"1.2.3.4:99",
    b"CMD ",
    b"\n",
    b"\x00",
    b"\xff",
    "é\u2028".encode(),
]
hostile = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join),
    st.binary(max_size=60),
)
maybeOffset = st.one_of(st.none(), st.integers(0, 2**62))


@st.composite
def almostCommon(draw: st.DrawFn) -> bytes:
    """A message of the common shape, or one that differs slightly."""

    def one(*texts: str) -> str:
        # Every other time the first choice, otherwise hardly any message would have the
        # shape.
        return draw(st.one_of(st.just(texts[0]), st.sampled_from(texts)))

    stamp = one(
        "2026-04-18T00:00:00.123456+00:00",
        "2026-04-18T10:11:12Z",
        "2024-02-29T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-02-28T00:00:00-23:59",
        "2026-04-31T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-04-18T24:00:00Z",
        "2026-04-18T10:11:12+24:00",
        "2026-04-18T10:11:12.",
        "2026-04-18",
        "-",
    )
    decky = one("decky04", "-", 'a"b')
    head = f"<{one('134', '0', '99999', '')}>1 {stamp} {decky} "
    head += f"{one('ssh', '1', 'é')} {one('-', '1234')} {one('auth', '-', '-x')} "
    params = ""
    for _ in range(draw(st.integers(0, 4))):
        name = one("src_ip", "ip", "remote_addr", "remote_port", "user", "a", "a-b")
        value = one(
            "203.0.113.77",
            "1.2.3.4:99",
            "::1",
            "[::1]:80",
            "[::1]",
            "[]:22",
            "2001:db8::1:49255",
            "::ffff:192.0.2.1:22",
            "fe80::1%eth0:22",
            "Unknown",
            "",
            " x= ",
            "b64=",
            "]",
            "%s",
            "{0}",
            r"\"",
            "é",
            "\x7f",
        )
        params += f'{one(" ", " ", "  ")}{name}="{value}"'
    element = f"[{one('relay@55555', 'relay@55555', 'other@1')}{params}]"
    element += one("", "", "", "[x@1]", " ", "  ")
    msg = one("", " failed", " a  b", ' "q" ', " src=1.2.3.4", "x", " \\", " ] ", " é")
    return f"{head}{element}{msg}".encode()


COMMON = (
    b"<134>1 2026-04-18T00:00:00.123456+00:00 decky04 ssh 1234 auth_attempt"
    b' [relay@55555 src_ip="203.0.113.77:51234" username="root" password="b64="]'
    b' login "attempt" failed'
)


def rendered(message: bytes, offset: int | None = 0) -> dict[str, Any]:
    """The record of a message, as parsed by a reader of the file."""
    made: dict[str, Any] = json.loads(renderRecords([message], WHO, offset))
    return made


class RecordTests(SynchronousTestCase):
    """Any message becomes one line of ASCII, always the same one."""

    def test_ourMembersComeLast(self) -> None:
        """Members that we add come after DECNET's, in this order."""
        lines = renderRecords([b"x", b"yy"], WHO, 7).splitlines()
        self.assertEqual(
            list(json.loads(lines[1]).items())[8:],
            [
                ("source_worker", "w1"),
                ("source_fingerprint", "sha-256:AA"),
                ("source_address", "192.0.2.1:5"),
                ("source_log", "/var/log/x"),
                ("source_offset", 9),
                ("received_at", NOW),
            ],
        )

    def test_offsetsInFile(self) -> None:
        """
        Each record has its message's offset in the file, for any number of messages.
        """
        many = [COMMON, b"x", b"", "é".encode()] * 300
        offset = 2**40
        for message, line in zip(
            many, renderRecords(many, WHO, offset).splitlines(), strict=True
        ):
            self.assertEqual(json.loads(line)["source_offset"], offset)
            offset += len(message) + 1

    def test_noFile(self) -> None:
        """Messages that do not come from a file have no file name and no offset."""
        who = replace(WHO, log=None)
        for line in renderRecords([COMMON, b"x"], who, None).splitlines():
            made = json.loads(line)
            self.assertEqual((made["source_log"], made["source_offset"]), (None, None))

    def test_noMessages(self) -> None:
        """No messages give no lines."""
        self.assertEqual(renderRecords([], WHO, 0), b"")

    def test_notUTF8(self) -> None:
        """Octets that are not UTF-8 are shown as U+FFFD, and are also given exactly."""
        octets = b"<134>1 - h a - m - \xff\x00"
        made = rendered(octets)
        self.assertEqual(list(made), [*KEYS, "raw_base64"])
        self.assertEqual(made["msg"], "\ufffd\x00")
        self.assertEqual(b64decode(made["raw_base64"]), octets)

    def test_commonShape(self) -> None:
        """
        A message of the common shape has every value right that the fast path must
        handle.
        """
        self.assertEqual(
            rendered(COMMON, 3),
            {
                "timestamp": "2026-04-18 00:00:00",
                "decky": "decky04",
                "service": "ssh",
                "event_type": "auth_attempt",
                "attacker_ip": "203.0.113.77",
                "fields": {
                    "src_ip": "203.0.113.77:51234",
                    "username": "root",
                    "password": "b64=",
                    "remote_port": "51234",
                },
                "msg": 'login "attempt" failed',
                "raw_line": COMMON.decode(),
                "source_worker": "w1",
                "source_fingerprint": "sha-256:AA",
                "source_address": "192.0.2.1:5",
                "source_log": "/var/log/x",
                "source_offset": 3,
                "received_at": NOW,
            },
        )

    @quick
    @given(st.lists(st.one_of(almostCommon(), hostile), max_size=6), maybeOffset)
    @example([COMMON, COMMON + b"\n", COMMON], 0)
    @example([COMMON.replace(b"username", b"src_ip")], 0)
    @example([COMMON.replace(b"decky04", b'd"y'), COMMON.replace(b"auth", b'"')], 0)
    @example([b"<134>1 - h a - m \x85\x1c x", COMMON], None)
    def test_sameAsJSON(self, many: list[bytes], start: int | None) -> None:
        """
        A batch renders, octet for octet, to each message's record as the json module
        writes it.
        """
        wanted = []
        offset = start
        for message in many:
            made = record(message, WHO, offset)
            wanted.append(json.dumps(made).encode("ascii") + b"\n")
            if offset is not None:
                offset += len(message) + 1
        self.assertEqual(renderRecords(many, WHO, start), b"".join(wanted))

    @quick
    @given(st.lists(hostile, max_size=4), maybeOffset)
    def test_anyOctets(self, many: list[bytes], start: int | None) -> None:
        """
        Any octets give one line of ASCII per message, with the message in it and no
        unknown member.
        """
        octets = renderRecords(many, WHO, start)
        self.assertTrue(octets.isascii())
        lines = octets.decode("ascii").splitlines(keepends=True)
        self.assertEqual(len(lines), len(many))
        for message, line in zip(many, lines, strict=True):
            # As pairs, so that a duplicate key is visible.
            pairs: list[list[Any]] = json.loads(line, object_pairs_hook=list)
            keys = [pair[0] for pair in pairs]
            made = {pair[0]: pair[1] for pair in pairs}
            if "raw_base64" in made:
                self.assertEqual(keys, [*KEYS, "raw_base64"])
                self.assertEqual(b64decode(made["raw_base64"]), message)
            else:
                self.assertEqual(keys, KEYS)
                self.assertEqual(made["raw_line"].encode("utf-8"), message)

    @quick
    @given(st.text(st.characters(exclude_categories=()), max_size=20))
    @example("\ud800\udcff\n\u2028")
    def test_hostileName(self, log: str) -> None:
        """A file's name with any octets breaks neither the line nor a JSON parser."""
        who = replace(WHO, log=log)
        octets = renderRecords([b"x", COMMON], who, 0)
        self.assertTrue(octets.isascii())
        self.assertEqual(octets.count(b"\n"), 2)
        for line in octets.splitlines():
            name: str = json.loads(line)["source_log"]
            # No lone surrogate: parsers in other languages refuse the whole line for
            # one.
            name.encode("utf-8")
            self.assertEqual(len(name), len(log))

    @quick
    @given(st.one_of(hostile, almostCommon()))
    def test_agreesWithStrictParser(self, message: bytes) -> None:
        """
        For a valid RFC 5424 message, the fields are those that the strict parser finds.
        """
        try:
            strict = parseMessage(message)
        except MessageError:
            return
        made = record(message, WHO, 0)
        if strict.version != 1:
            self.assertEqual(made["event_type"], "unparsed")
        elif strict.msgID is not None:
            fields: dict[str, str] = {}
            for element in strict.structuredData:
                if element.id == "relay@55555":
                    fields.update(element.params)
            found = dict(made["fields"])  # type: ignore[call-overload]
            if "remote_port" not in fields:
                found.pop("remote_port", None)
            self.assertEqual(found, fields)

    def test_noBacktracking(self) -> None:
        """
        Octets that make naive parsers backtrack are handled in linear time: the test
        returns.
        """
        for part in (
            b"a",
            b"a=",
            b"src_ip=",
            b" src_ip=",
            b"a=src_ip=x ",
            b"from ",
            b"from a",
            b"1.1.1.",
            b" ",
            b"\t",
            b":",
            b'"',
            b"2026-01-01T0 ",
            b' a="',
            b' a="b"',
            b"[a]",
            b"\\",
            b'\\"',
            b"n=5 ",
            b'a="\\" ',
            b"[a =]",
            b"[a n=5",
            b'a= "b" ',
            b"from [::",
            b"from fe80::1%",
            b"ip=[",
            b"1.1.1.1.",
            b'][relay@55555 a="b"',
            b"=] [relay@55555",
        ):
            hostile = part * (100_000 // len(part))
            for head in (b"", b"<134>1 ", b"<134>1 - h a - - "):
                for begin in (b"", b"- ", b"- from", b"[", b"[relay@55555", b'[a b="'):
                    renderRecords([head + begin + hostile + b" ip="], WHO, 0)

    def test_memoryForEscapes(self) -> None:
        """A value that consists only of escapes needs little memory."""
        message = b'<1>1 - h a - m [relay@55555 b="' + b'\\"' * 200_000 + b'"]'
        tracemalloc.start()
        try:
            renderRecords([message], WHO, 0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 16 * len(message))

"""
Tests for L{decnet_syslog.wire._decnet}, from the viewpoint of a reader of the records.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.wire._provenance import Provenance

from ..records import renderRecords

WHO = Provenance(
    "w1", "sha-256:AA", "192.0.2.1:5", "2026-04-18T01:02:03.000004Z", None, False
)
VECTORS = Path(__file__).parent.parent / "data" / "decnet-records.jsonl"

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


def rendered(message: bytes) -> dict[str, Any]:
    """The record of a message, as parsed by a reader of the file."""
    made: dict[str, Any] = json.loads(renderRecords([message], WHO, 0))
    return made


# Vectors whose record differs from DECNET's (docs/swapping.rst explains why).
DIFFERENT: dict[str, dict[str, str]] = {
    "<134>1 2026-04-18T00:00:00Z decky06 smtp - x - \ufeffBOM message 4.4.4.4": {
        "msg": "BOM message 4.4.4.4"
    },
    '<134>1 2026-04-18T00:00:00Z h a p m  [relay@55555 src_ip="1.2.3.4"] extra space': {
        "attacker_ip": "1.2.3.4"
    },
}


class ReadingTests(SynchronousTestCase):
    """Records have the values that DECNET's consumers expect."""

    HEAD = "<134>1 2026-04-18T00:00:00Z h a - m "

    def made(self, rest: str, head: str = HEAD) -> dict[str, Any]:
        """The record of a message with this ending."""
        return rendered((head + rest).encode())

    def test_decnetsVectors(self) -> None:
        """
        Every vector gives the record of DECNET's own parser, apart from two exceptions.
        """
        count = 0
        different = dict(DIFFERENT)
        for line in VECTORS.read_text("utf-8").split("\n")[:-1]:
            vector: dict[str, Any] = json.loads(line)
            made = rendered(vector["line"].encode("utf-8"))
            self.assertEqual(list(made)[: len(DECNET_KEYS)], DECNET_KEYS)
            wanted = vector["record"]
            if wanted is None:
                self.assertEqual(made["event_type"], "unparsed")
                self.assertEqual(made["raw_line"], vector["line"])
            else:
                ours = different.pop(vector["line"], {})
                self.assertNotEqual({key: wanted[key] for key in ours} or None, ours)
                wanted = {**wanted, **ours}
                # If the message has no valid date, DECNET's record has none; ours has
                # the arrival time.
                known = {"timestamp": "2026-04-18 01:02:03", **wanted}
                self.assertEqual(list(made)[: len(known)], list(known))
                self.assertEqual({key: made[key] for key in known}, known)
            count += 1
        self.assertEqual((count, different), (48, {}))

    def test_unparsedMessages(self) -> None:
        """A message that DECNET would drop gets a record with its complete text."""
        for message in (b"", b"hello", b"<134>1 short", b"<134>2 - h a p m - x"):
            made = rendered(message)
            self.assertEqual(
                {key: made[key] for key in DECNET_KEYS},
                {
                    "timestamp": "2026-04-18 01:02:03",
                    "decky": "-",
                    "service": "-",
                    "event_type": "unparsed",
                    "attacker_ip": "Unknown",
                    "fields": {},
                    "msg": message.decode(),
                    "raw_line": message.decode(),
                },
            )

    def test_timestampFormats(self) -> None:
        """
        Timestamps are shown without fraction and offset; an invalid date is replaced by
        the arrival time.
        """
        arrival = "2026-04-18 01:02:03"
        for written, shown in (
            ("2026-04-18T10:11:12.999999-07:00", "2026-04-18 10:11:12"),
            ("2026-04-18T10:11:12+0530", "2026-04-18 10:11:12"),
            ("2026-04-18T10:11:12", "2026-04-18 10:11:12"),
            ("2026-04-18T10:11", "2026-04-18 10:11:00"),
            ("2026-04-18", "2026-04-18 00:00:00"),
            ("2024-02-29T10:11:12Z", "2024-02-29 10:11:12"),
            ("2026-02-29T10:11:12Z", arrival),
            ("2026-02-30", arrival),
            ("2026-04-31T10:11:12Z", arrival),
            ("2026-13-01T10:11:12Z", arrival),
            ("2026-04-18T24:00:00Z", arrival),
            ("2026-04-18T10:11:60Z", arrival),
            ("2026-04-18T10:11:12+24:00", arrival),
            ("0000-01-01T10:11:12Z", arrival),
            ("2026-04-18T10:11:12Z;", arrival),
            ("2026-04-18T10:11:12.Z", arrival),
            ("2026-04-18T10", "2026-04-18 10:00:00"),
            ("20260418T101112Z", arrival),
            ("\u0662026-04-18", arrival),
            ("1776470400", arrival),
            ("yesterday", arrival),
            ("-", arrival),
        ):
            for rest in ("- x", '[relay@55555 src_ip="1.2.3.4"] x'):
                made = self.made(rest, f"<134>1 {written} h a - m ")
                self.assertEqual(made["timestamp"], shown)
                # DECNET's database accepts the value.
                self.assertTrue(datetime.fromisoformat(made["timestamp"]))

    def test_addressOrder(self) -> None:
        """
        The attacker's address comes from the first of the known parameters, whatever
        their order in the message.
        """
        names = ["src_ip", "src", "client_ip", "remote_ip", "remote_addr"]
        names += ["target_ip", "ip"]
        params = [f'{name}="192.0.2.{at}"' for at, name in enumerate(names)]
        while params:
            made = self.made(f"[relay@55555 {' '.join(reversed(params))}] ip=9.9.9.9")
            self.assertEqual(made["attacker_ip"], params[0].split('"')[1])
            del params[0]
        self.assertEqual(
            self.made("[relay@55555] ip=9.9.9.9")["attacker_ip"], "9.9.9.9"
        )

    def test_portIsSplitOff(self) -> None:
        """
        A port is split off the address and recorded unless another parameter has one;
        the end of an IPv6 address is not taken for a port.
        """
        groups = "2001:db8:0:0:0:0:0:1"
        for address, host, port in (
            ("1.2.3.4:99", "1.2.3.4", "99"),
            ("[2001:db8::1\\]:99", "2001:db8::1", "99"),
            ("host.example:99", "host.example", "99"),
            ("1.2.3.4", "1.2.3.4", None),
            ("1.2.3.4:x", "1.2.3.4:x", None),
            ("1.2.3.4:", "1.2.3.4:", None),
            (":99", ":99", None),
            ("1.2.3.4:99999", "1.2.3.4", "99999"),
            ("", "", None),
            # A group has at most four digits, an address at most eight groups.
            ("2001:db8::1:49255", "2001:db8::1", "49255"),
            ("2001:db8::1:00022", "2001:db8::1", "00022"),
            ("::1:65535", "::1", "65535"),
            ("::1:65536", "::1:65536", None),
            ("::1:123456", "::1:123456", None),
            (f"{groups}:22", groups, "22"),
            (f"{groups}:2:22", f"{groups}:2:22", None),
            ("::ffff:192.0.2.1:22", "::ffff:192.0.2.1", "22"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1", None),
            ("::ffff:c000:201:49255", "::ffff:c000:201", "49255"),
            ("64:ff9b::192.0.2.1:80", "64:ff9b::192.0.2.1", "80"),
            # No interface has a colon in its name.
            ("fe80::1%eth0:49255", "fe80::1%eth0", "49255"),
            ("fe80::1%eth0:22", "fe80::1%eth0", "22"),
            ("fe80::1%2:22", "fe80::1%2", "22"),
            ("fe80::1%eth0", "fe80::1%eth0", None),
            # Valid addresses stay whole.
            ("2001:db8::1", "2001:db8::1", None),
            ("2001:db8::1:22", "2001:db8::1:22", None),
            ("::1:22", "::1:22", None),
            ("::", "::", None),
            # In brackets.
            ("[2001:db8::1\\]", "2001:db8::1", None),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1\\]:22", "2001:db8::1", "22"),
            ("[fe80::1%eth0\\]:22", "fe80::1%eth0", "22"),
            ("[192.0.2.1\\]:22", "192.0.2.1", "22"),
            ("[192.0.2.1\\]", "192.0.2.1", None),
            ("[\\]:22", "[]:22", None),
            ("[\\]", "[]", None),
            ("[host\\]", "[host]", None),
            # Not an address.
            ("12:34:56", "12:34:56", None),
            ("00:11:22:33:44:55", "00:11:22:33:44:55", None),
            ("a:b:c:1", "a:b:c:1", None),
            ("::1::2:22", "::1::2:22", None),
            ("1.2.3.4:5:6", "1.2.3.4:5:6", None),
            ("2001:db8::1:" + "9" * 5000, "2001:db8::1:" + "9" * 5000, None),
            ("a" * 5000 + ":::1", "a" * 5000 + ":::1", None),
        ):
            made = self.made(f'[relay@55555 ip="{address}"] x')
            self.assertEqual(made["attacker_ip"], host)
            self.assertEqual(made["fields"].get("remote_port"), port)
            made = self.made(f'[relay@55555 ip="{address}" remote_port="7"] x')
            self.assertEqual(made["fields"]["remote_port"], "7")

    def test_addressInText(self) -> None:
        """
        Without a parameter, the address comes from the text: the first known pair, a
        phrase, or any address.
        """
        for text, attacker in (
            ("remote_addr=1.1.1.1:99 src_ip=2.2.2.2", "1.1.1.1"),
            ("from 3.3.3.3 user=x src=1.1.1.1", "1.1.1.1"),
            ("zsrc_ip=1.1.1.1 (src_ip=2.2.2.2", "2.2.2.2"),
            ("a=src_ip=1.1.1.1 b ip=2.2.2.2", "2.2.2.2"),
            ("src_ip= x ip=2.2.2.2", "2.2.2.2"),
            ("on 10.0.0.2 from 1.1.1.1 port 5", "1.1.1.1"),
            ("10.0.0.2 RHOST=1.1.1.1", "1.1.1.1"),
            ("10.0.0.2 client: 1.1.1.1", "1.1.1.1"),
            ("Connection from 2001:db8::5 port 5", "2001:db8::5"),
            ("src_ip=Unknown from 1.1.1.1", "1.1.1.1"),
            ("x 1.1.1.1:99", "1.1.1.1"),
            ("x1.1.1.1", "Unknown"),
            ("1234.1.1.1", "Unknown"),
            ("", "Unknown"),
            # Quotes, a port and any following text are not part of the address.
            ('src_ip="1.1.1.1"] x', "1.1.1.1"),
            ("src_ip='1.1.1.1', x", "1.1.1.1"),
            ("src=1.1.1.1,dst=2.2.2.2", "1.1.1.1"),
            ("src=1.1.1.1; x", "1.1.1.1"),
            ("(ip=1.1.1.1)", "1.1.1.1"),
            ("ip=<1.1.1.1>", "1.1.1.1"),
            ("ip=1.1.1.1:", "1.1.1.1"),
            ("ip=1.1.1.1.", "1.1.1.1"),
            ("ip=[2001:db8::1]:22, x", "2001:db8::1"),
            ("[ip=2001:db8::1]", "2001:db8::1"),
            ("ip=2001:db8::1:49255", "2001:db8::1"),
            ('ip="evil.example",', "evil.example"),
            ('ip="Unknown" from 1.1.1.1', "1.1.1.1"),
            ("ip=, x", ","),
            ("from 1.1.1.1: x", "1.1.1.1"),
            ("from 1.1.1.1, x", "1.1.1.1"),
            ("from 1.1.1.1.", "1.1.1.1"),
            ("from 1.1.1.1/24", "1.1.1.1"),
            ("from 1.1.1.1#53", "1.1.1.1"),
            ("from 1.1.1.1:99", "1.1.1.1"),
            ("from 1.1.1.1]", "1.1.1.1"),
            ('from "1.1.1.1" x', "1.1.1.1"),
            ("from ('1.1.1.1', 5)", "1.1.1.1"),
            ("from<1.1.1.1>", "1.1.1.1"),
            ("from ::ffff:192.0.2.1 port 5", "::ffff:192.0.2.1"),
            ("from ::ffff:192.0.2.1:22", "::ffff:192.0.2.1"),
            ("from [::ffff:192.0.2.1]:22", "::ffff:192.0.2.1"),
            ("from [2001:db8::1]:22", "2001:db8::1"),
            ("from [2001:db8::1]", "2001:db8::1"),
            ("from 2001:db8::1: x", "2001:db8::1"),
            ("from 2001:db8::1.", "2001:db8::1"),
            ("from 2001:db8::1, x", "2001:db8::1"),
            ("from '2001:db8::1'", "2001:db8::1"),
            ("from 2001:db8::1:49255", "2001:db8::1"),
            ("from 2001:db8:: x", "2001:db8::"),
            ("from fe80::1%eth0 port 5", "fe80::1%eth0"),
            ("from fe80::1%eth0:22", "fe80::1%eth0"),
            ("rhost=2001:db8::1, x", "2001:db8::1"),
            # No address.
            ("from 12:34:56 x", "Unknown"),
            ("from 12:34:56 to 1.1.1.1", "1.1.1.1"),
            ("from 12:34:56 from 1.1.1.1", "1.1.1.1"),
            ("from from 1.1.1.1", "1.1.1.1"),
            ("from face:b00c", "Unknown"),
            ("from dead:beef:cafe", "Unknown"),
            ("from 00:11:22:33:44:55", "Unknown"),
            ("from ::", "Unknown"),
            ("from : x", "Unknown"),
            ("from std::vector", "Unknown"),
            ("from a.b.c.d", "Unknown"),
            ("from 999.1.1.1", "Unknown"),
            ("from 01.1.1.1", "Unknown"),
            ("oid 1.3.6.1.4.1", "Unknown"),
            ("999.999.999.999 then 1.1.1.1", "1.1.1.1"),
            ("version 1.2.3.4.5, from 1.1.1.1", "1.1.1.1"),
            ("...1.1.1.1...", "1.1.1.1"),
        ):
            for element in ("-", "[relay@55555]", '[relay@55555 ip="Unknown"]'):
                made = self.made(f"{element} {text}")
                self.assertEqual(made["attacker_ip"], attacker, (element, text))

    def test_relayedMessage(self) -> None:
        """
        A message inside a message is parsed, but the timestamp is the outer one's.
        """
        inner = "2026-01-01T09:09:09.1+00:00 inner bash 77 command"
        for app, process in (("1", "-"), ("logger", "5")):
            head = f"<14>1 2026-04-18T00:00:00Z outer {app} {process} - "
            made = self.made(f'- {inner} [t x="1"] CMD src=1.2.3.4 x', head)
            self.assertEqual(
                [made[key] for key in DECNET_KEYS[:-1]],
                [
                    "2026-04-18 00:00:00",
                    "inner",
                    "bash",
                    "command",
                    "1.2.3.4",
                    {},
                    "CMD src=1.2.3.4 x",
                ],
            )
        made = self.made(f"- {inner} - x", "<14>1 2026-04-18T00:00:00Z outer a - m ")
        self.assertEqual((made["decky"], made["event_type"]), ("outer", "m"))

    def test_shellCommand(self) -> None:
        """A line from bash without MSGID becomes a "command" event."""
        head = "<14>1 2026-04-18T00:00:00Z h bash - - "
        for rest, event in (
            ("- CMD x", "command"),
            ('[relay@55555 ip="1.2.3.4"] CMD x', "command"),
            ("- CMD", "-"),
            ("- cmd x", "-"),
        ):
            self.assertEqual(self.made(rest, head)["event_type"], event)
        self.assertEqual(self.made("- CMD x")["event_type"], "m")

    def test_correctWhereDecnetIsWrong(self) -> None:
        """
        Escapes, several elements, and brackets in the text are parsed by the RFC, where
        DECNET's parser is wrong.
        """
        for rest, fields, msg in (
            ('[relay@55555 a="x\\]y" b="2"] z', {"a": "x]y", "b": "2"}, "z"),
            ('[relay@55555 a="\\\\" b="\\\\\\""] z', {"a": "\\", "b": '\\"'}, "z"),
            ('[relay@55555 a="\\d"] z', {"a": "\\d"}, "z"),
            ('[t x="1"][relay@55555 a="2"] z', {"a": "2"}, "z"),
            ('[relay@55555 a="2"][t x="1"] z', {"a": "2"}, "z"),
            ('[relay@55555 a="2"] z] y', {"a": "2"}, "z] y"),
            ('[relay@55555 a="2"] [b] c', {"a": "2"}, "[b] c"),
            ('[relay@55555 a-b="2"] z', {"a-b": "2"}, "z"),
        ):
            made = self.made(rest)
            self.assertEqual((made["fields"], made["msg"]), (fields, msg))

    def test_tolerantParsing(self) -> None:
        """
        Invalid structured data is parsed if it is unambiguous; otherwise it becomes
        text.
        """
        long = "n" * 40
        for rest, fields, msg in (
            ('[relay@55555 a="x]y"] z', {"a": "x]y"}, "z"),
            ('[relay@55555  a="1"   b="2" ] z', {"a": "1", "b": "2"}, "z"),
            (f'[relay@55555 {long}="1" é="2"] z', {long: "1", "é": "2"}, "z"),
            ('[relay@55555 a="1"][relay@55555 b="2"] z', {"a": "1", "b": "2"}, "z"),
            ('[relay@55555 a="1"]z', {"a": "1"}, "z"),
            ('[relay@55555 a="2" z', {"a": "2"}, '[relay@55555 a="2" z'),
            ('[relay@55555 a="2', {}, '[relay@55555 a="2'),
            ('[relay@55555 a="2\\', {}, '[relay@55555 a="2\\'),
            ('[relay@55555 a="2\\"] z', {}, "z"),
            ("[] z", {}, "[] z"),
        ):
            made = self.made(rest)
            self.assertEqual((made["fields"], made["msg"]), (fields, msg))

    def test_unreadableElementIsIsolated(self) -> None:
        """An element or parameter that cannot be parsed does not affect the others."""
        ours, found = (
            '[relay@55555 src_ip="1.2.3.4" u="x"]',
            {"src_ip": "1.2.3.4", "u": "x"},
        )
        for other in (
            "[o@1 sub=Vim]",
            '[ex@32473 a= "b"]',
            '[ex@32473 a ="b"]',
            '[ex@32473 a = "b" c="d"]',
            "[o@1 n=5]",
            "[o@1 =]",
            '[o@1 ="b"]',
            '[o@1 "b"]',
            "[o@1 a='b']",
            "[o@1 a='b]c']",
            '[o@1 a="b]',
            '[o@1 a="b\\"]',
            '[o@1 a="b" ,c="d"]',
            '[o@1 a="b"c="d"]',
            "[o@1 a]",
            "[]",
            "[ ]",
            '["]',
            "[=]",
            '[ a="b"]',
            '[a="b"]',
            "[12:34:56 x]",
            '[o@1 a="][" b=c]',
        ):
            made = self.made(f"{other}{ours} z")
            self.assertEqual((made["fields"], made["msg"]), (found, "z"), other)
            self.assertEqual(made["attacker_ip"], "1.2.3.4", other)
            made = self.made(f'{other}{other}{ours}[t x="1"] z')
            self.assertEqual((made["fields"], made["msg"]), (found, "z"), other)
            # The next element loses nothing, whatever remains in the text.
            made = self.made(f"{ours}{other} z")
            self.assertEqual(made["fields"], found, other)
            self.assertTrue(made["msg"].endswith("z"), other)

    def test_unreadableParameters(self) -> None:
        """Of DECNET's own element, every readable parameter is used."""
        for params in (
            'src_ip="1.2.3.4" n=5 u="x"',
            'n=5 src_ip="1.2.3.4" u="x"',
            'src_ip="1.2.3.4" u="x" n=5',
            'src_ip="1.2.3.4" a= "b" u="x"',
            'a ="b" src_ip="1.2.3.4" u="x"',
            'src_ip="1.2.3.4", u="x"',
            'src_ip="1.2.3.4"u="x"',
            'src_ip="1.2.3.4" "b" u="x"',
            'src_ip="1.2.3.4" = u="x"',
            'src_ip="1.2.3.4" a=\'b\' u="x"',
            'src_ip="1.2.3.4" u="x" cmd="no end',
            'src_ip="1.2.3.4" u="x" cmd="no end\\"',
            'src_ip="1.2.3.4" u="x" "',
        ):
            made = self.made(f"[relay@55555 {params}] z")
            self.assertEqual(
                (made["fields"], made["msg"]),
                ({"src_ip": "1.2.3.4", "u": "x"}, "z"),
                params,
            )
        # A truncated element also stays in the text.
        for rest in ("", " ", ' cmd="no', ' cmd="no\\', " cmd"):
            line = f'[relay@55555 src_ip="1.2.3.4"{rest}'
            made = self.made(line)
            self.assertEqual(made["fields"], {"src_ip": "1.2.3.4"})
            self.assertEqual((made["attacker_ip"], made["msg"]), ("1.2.3.4", line))

    def test_bracketsInText(self) -> None:
        """
        A bracketed text without parameters is not an element, and no text is taken for
        DECNET's element.
        """
        for rest in ("[12:34:56 x] z", "[ ] z", '["x"] z'):
            self.assertEqual(self.made(rest)["msg"], rest)
        forged = '[relay@55555 src_ip="6.6.6.6"]'
        for rest in (f"[o@1 n=5] x]{forged}", f'[o@1 a= "b"] x ]{forged}'):
            self.assertEqual(self.made(rest)["fields"], {}, rest)
        for rest in (f"- x {forged}", f'[t x="1"] {forged}', f"[t] x]{forged}"):
            self.assertEqual(self.made(rest)["fields"], {}, rest)

    def test_bomIsDropped(self) -> None:
        """A BOM before MSG is dropped from the text but stays in the raw line."""
        for rest, msg in (
            ("- \ufeffx", "x"),
            ("- \ufeff", ""),
            ("- x\ufeff", "x\ufeff"),
            ("- \ufeff\ufeffx", "\ufeffx"),
            ('[relay@55555 a="1"] \ufeffx', "x"),
            ('[t b="\ufeff"] \ufeffé', "é"),
            ("[t n=5] \ufeffx", "x"),
        ):
            made = self.made(rest)
            self.assertEqual(made["msg"], msg)
            self.assertTrue(made["raw_line"].endswith(rest))
        head = "<14>1 2026-04-18T00:00:00Z h bash - - "
        self.assertEqual(self.made("- \ufeffCMD x", head)["event_type"], "command")
        # Even if other octets are not UTF-8.
        made = rendered((self.HEAD + "- \ufeff").encode() + b"\xff")
        self.assertEqual(made["msg"], "\ufffd")

"""Tests for L{decnet_syslog.wire.decnet}, as a reader of the records sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.wire.record import Provenance

from .records import renderRecords

WHO = Provenance("w1", "sha-256:AA", "192.0.2.1:5", "2026-04-18T01:02:03.000004Z", None)
VECTORS = Path(__file__).parent / "data" / "decnet-records.jsonl"

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
    """The record of a message, as a reader of the file has it."""
    made: dict[str, Any] = json.loads(renderRecords([message], WHO, 0))
    return made


class ReadingTests(SynchronousTestCase):
    """The values are those that DECNET's consumers know."""

    HEAD = "<134>1 2026-04-18T00:00:00Z h a - m "

    def made(self, rest: str, head: str = HEAD) -> dict[str, Any]:
        """The record of a message that ends so."""
        return rendered((head + rest).encode())

    def test_vectors(self) -> None:
        """Every line gives the record that DECNET's own parser gives."""
        count = 0
        for line in VECTORS.read_text("utf-8").split("\n")[:-1]:
            vector: dict[str, Any] = json.loads(line)
            made = rendered(vector["line"].encode("utf-8"))
            self.assertEqual(list(made)[: len(DECNET_KEYS)], DECNET_KEYS)
            wanted = vector["record"]
            if wanted is None:
                self.assertEqual(made["event_type"], "unparsed")
                self.assertEqual(made["raw_line"], vector["line"])
            else:
                self.assertEqual(list(made)[: len(wanted)], list(wanted))
                self.assertEqual({key: made[key] for key in wanted}, wanted)
            count += 1
        self.assertEqual(count, 48)

    def test_unparsed(self) -> None:
        """A message that DECNET would drop has a record with all of its text."""
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

    def test_timestamps(self) -> None:
        """A time is shown without fraction and offset; what is none, as it is."""
        for written, shown in (
            ("2026-04-18T10:11:12.999999-07:00", "2026-04-18 10:11:12"),
            ("2026-04-18T10:11:12+0530", "2026-04-18 10:11:12"),
            ("2026-04-18T10:11:12", "2026-04-18 10:11:12"),
            ("2026-04-18T10:11", "2026-04-18 10:11:00"),
            ("2026-04-18", "2026-04-18 00:00:00"),
            ("2024-02-29T10:11:12Z", "2024-02-29 10:11:12"),
            ("2026-02-29T10:11:12Z", "2026-02-29T10:11:12Z"),
            ("2026-04-31T10:11:12Z", "2026-04-31T10:11:12Z"),
            ("2026-04-18T10:11:60Z", "2026-04-18T10:11:60Z"),
            ("2026-04-18T10:11:12+24:00", "2026-04-18T10:11:12+24:00"),
            ("0000-01-01T10:11:12Z", "0000-01-01T10:11:12Z"),
            ("yesterday", "yesterday"),
            ("-", "-"),
        ):
            for rest in ("- x", '[relay@55555 src_ip="1.2.3.4"] x'):
                made = self.made(rest, f"<134>1 {written} h a - m ")
                self.assertEqual(made["timestamp"], shown)

    def test_addressOrder(self) -> None:
        """The first of the names that is there has the attacker, wherever it stands."""
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

    def test_ports(self) -> None:
        """A port is split off, and noted unless there is one; half of IPv6 is no port."""
        for address, host, port in (
            ("1.2.3.4:99", "1.2.3.4", "99"),
            ("[2001:db8::1\\]:99", "2001:db8::1", "99"),
            ("host.example:99", "host.example", "99"),
            ("1.2.3.4", "1.2.3.4", None),
            ("1.2.3.4:x", "1.2.3.4:x", None),
            ("1.2.3.4:", "1.2.3.4:", None),
            (":99", ":99", None),
            ("2001:db8::1", "2001:db8::1", None),
            ("", "", None),
        ):
            made = self.made(f'[relay@55555 ip="{address}"] x')
            self.assertEqual(made["attacker_ip"], host)
            self.assertEqual(made["fields"].get("remote_port"), port)
            made = self.made(f'[relay@55555 ip="{address}" remote_port="7"] x')
            self.assertEqual(made["fields"]["remote_port"], "7")

    def test_addressInText(self) -> None:
        """
        Without a parameter: the first pair, as it is, a word for it, or any address.
        """
        for text, attacker in (
            ("remote_addr=1.1.1.1:99 src_ip=2.2.2.2", "1.1.1.1:99"),
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
        ):
            for element in ("-", "[relay@55555]", '[relay@55555 ip="Unknown"]'):
                made = self.made(f"{element} {text}")
                self.assertEqual(made["attacker_ip"], attacker, (element, text))

    def test_relayed(self) -> None:
        """A message in a message is read, but the time is that of the outer one."""
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

    def test_command(self) -> None:
        """A shell's line without MSGID is a command."""
        head = "<14>1 2026-04-18T00:00:00Z h bash - - "
        for rest, event in (
            ("- CMD x", "command"),
            ('[relay@55555 ip="1.2.3.4"] CMD x', "command"),
            ("- CMD", "-"),
            ("- cmd x", "-"),
        ):
            self.assertEqual(self.made(rest, head)["event_type"], event)
        self.assertEqual(self.made("- CMD x")["event_type"], "m")

    def test_rightByTheRFC(self) -> None:
        """
        Where DECNET's parser is wrong: escapes, several elements, brackets in the text.
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

    def test_tolerant(self) -> None:
        """What the RFC forbids but has one reading is read; what has none is text."""
        long = "n" * 40
        for rest, fields, msg in (
            ('[relay@55555 a="x]y"] z', {"a": "x]y"}, "z"),
            ('[relay@55555  a="1"   b="2" ] z', {"a": "1", "b": "2"}, "z"),
            (f'[relay@55555 {long}="1" é="2"] z', {long: "1", "é": "2"}, "z"),
            ('[relay@55555 a="1"][relay@55555 b="2"] z', {"a": "1", "b": "2"}, "z"),
            ('[relay@55555 a="1"]z', {"a": "1"}, "z"),
            ('[relay@55555 a="2" z', {}, '[relay@55555 a="2" z'),
            ('[relay@55555 a="2', {}, '[relay@55555 a="2'),
            ('[relay@55555 a="2\\', {}, '[relay@55555 a="2\\'),
            ('[relay@55555 a="2\\"] z', {}, '[relay@55555 a="2\\"] z'),
            ("[] z", {}, "[] z"),
        ):
            made = self.made(rest)
            self.assertEqual((made["fields"], made["msg"]), (fields, msg))

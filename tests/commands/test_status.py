"""Tests for decnet-syslog status: text, JSON, filters and orders."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache, partial
from typing import Any
from urllib.request import OpenerDirector

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.commands import status
from decnet_syslog.commands.status import Options

from ..fleets import fleet, names
from ..watched import HOST, LAGGING, NAMES, SILENT, Watched, twelve

# The members that programs may rely on. A new one may be added; none may go.
MEMBERS = """
    role version build hot_path host time started uptime ok problems workers states
    connected_workers connections handshakes commits acknowledgements lines
    lines_per_second_lately lines_per_second_day journal outputs certificates events
"""
WORKER_MEMBERS = """
    name state expected revoked connections addresses silence lines octets
    lines_per_second octets_per_second gaps gap_octets empty_frames expires newest files
    behind_octets behind_seconds report_seconds throttled throttled_seconds streams
    alarms
"""
PROBLEM_MEMBERS = "kind severity what text remedy seconds"
JOURNAL_MEMBERS = "octets kept_octets octets_max full waiting_octets position"

FORWARDER = {
    "role": "forwarder",
    "version": "1.0.0",
    "host": "decky-01",
    "started": "2026-11-23T14:00:00Z",
    "uptime": 90.0,
    "ok": True,
    "problems": [],
    "master": {"host": "192.0.2.1", "port": 6514, "connected": True},
    "files": [
        {"name": "/log/a2\x1b", "size": 10, "position": 5, "behind_seconds": 3.0},
        {"name": "/log/a10", "size": 99, "position": 9, "behind_seconds": 1.0},
        {"name": "/log/b", "size": 7, "position": 7, "behind_seconds": 0.0},
    ],
    "behind_octets": 95,
    "behind_seconds": 3.0,
}

OUTPUTS = {
    "role": "outputs",
    "version": "1.0.0",
    "started": "2026-11-23T14:00:00Z",
    "ok": True,
    "problems": [],
    "writing": True,
    "holder": None,
    "journal": {"octets": 1, "octets_max": 2, "silence": 1.0, "position": 3},
    "outputs": [{"name": "json", "position": 1, "blocked": None}],
}


@cache
def ofTwelve() -> str:
    """The status of a listener with twelve workers, as JSON."""
    watched = Watched()
    twelve(watched)
    return json.dumps(watched.facts())


class StatusTestCase(SynchronousTestCase):
    """A service whose status is in memory."""

    def serve(self, facts: Callable[[], Any]) -> None:
        """Answer with these facts."""
        self.patch(
            OpenerDirector,
            "open",
            lambda *_, **__: io.BytesIO(json.dumps(facts()).encode()),
        )

    def status(self, *words: str) -> tuple[object, str]:
        """The exit status, and everything that was printed."""
        options = Options()
        options.parseOptions(["6515", *words])
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            ended = status.run(options)
        return ended, out.getvalue()

    def shown(self, *words: str) -> list[str]:
        """The names of the workers or files, in order, in the text and in the JSON."""
        _, text = self.status(*words)
        _, octets = self.status(*words, "--json")
        record = json.loads(octets)
        found = [one["name"] for one in record.get("workers", record.get("files"))]
        places = [
            match.start()
            for name in found
            if (match := re.search(rf"^{re.escape(name)} ", text, re.MULTILINE))
        ]
        self.assertEqual(places, sorted(places))
        return found


class ListenerTests(StatusTestCase):
    """The status of a listener with twelve workers."""

    def setUp(self) -> None:
        self.facts = json.loads(ofTwelve())
        self.serve(lambda: self.facts)

    def test_textOfListener(self) -> None:
        """
        The text names the machine, counts the workers, shows each in a line, and ends
        with the problems and their remedies.
        """
        ended, text = self.status()
        self.assertEqual(ended, 1)
        first, second, *_ = text.splitlines()
        self.assertRegex(first, rf"^decnet-listener \S+ on {HOST}, up 42 min, ")
        self.assertRegex(second, r"^10 of 12 workers connected, 10 connections; ")
        self.assertIn("5.0 MiB undelivered", second)
        self.assertIn("\nstates: silent 1, gap 1, lagging 1, expiring 1, ok 7, ", text)
        self.assertRegex(text, rf"\n{LAGGING} +lagging +95 s +5.0 MiB ")
        tail = text[text.index("\nsilent: ") :]
        self.assertRegex(tail, rf"^\nsilent: {SILENT}: nothing received for \d+ s")
        self.assertRegex(tail, r"\n  remedy: Check that decnet-forwarder runs there")
        self.assertLess(tail.index("lagging: "), tail.index("expiring: "))

    def test_numbersAreAligned(self) -> None:
        """Numbers stand under each other, at the right of their column."""
        _, text = self.status()
        lines = text.splitlines()
        (head,) = [line for line in lines if line.startswith("worker ")]
        end = head.index("lag") + len("lag")
        rows = [line for line in lines if line.startswith("decky-")]
        self.assertEqual(len(rows), 12)
        for row in rows:
            self.assertRegex(row[:end], r"[s0-9-]$")
            self.assertEqual(row[end], " ")

    def test_workersAreSelected(self) -> None:
        """Workers are selected by state and name, sorted, reversed, and limited."""
        worst = [*(SILENT, "decky-11", LAGGING, "decky-09"), *NAMES[:6], "decky-12"]
        self.assertEqual(self.shown(), [*worst, "decky-10"])
        self.assertEqual(self.shown("--state", "lagging"), [LAGGING])
        self.assertEqual(
            self.shown("--state", "lagging,silent", "--state=expiring"),
            [SILENT, LAGGING, "decky-09"],
        )
        self.assertEqual(self.shown("--state=problem"), worst[:4])
        self.assertEqual(
            self.shown("--match=Y-1"), ["decky-11", "decky-12", "decky-10"]
        )
        self.assertEqual(self.shown("--match=198.51.100.18"), [LAGGING])
        self.assertEqual(self.shown("--match=lagging"), [])
        self.assertEqual(self.shown("--sort=name"), NAMES)
        self.assertEqual(self.shown("--sort=name", "--reverse"), NAMES[::-1])
        self.assertEqual(self.shown("--sort=lag", "--limit=1"), [LAGGING])
        _, text = self.status("--state=lagging")
        self.assertIn("\n1 of 12 workers:\n", text)
        self.assertIn("10 of 12 workers connected", text)

    def test_nothingSelected(self) -> None:
        """Without a match, the rest is shown, and the exit status is that of all."""
        ended, text = self.status("--match=nobody")
        self.assertEqual(ended, 1)
        self.assertIn("\n0 of 12 workers:\n", text)
        self.assertIn("silent: ", text)

    def test_unknownWords(self) -> None:
        """An unknown state or order is an error that names the nearest one."""
        for words, said in (
            (["--state=laggin"], "there is no state 'laggin'; do you mean lagging?"),
            (["--state=ok,"], "there is no state ''"),
            (["--sort=expire"], "there is no order 'expire'; do you mean expires?"),
            (["--limit=x"], "--limit: "),
        ):
            with self.assertRaises(usage.UsageError) as caught:
                Options().parseOptions(["6515", *words])
            self.assertIn(said, str(caught.exception))
        ended, text = self.status("--sort=size")
        self.assertEqual(ended, 2)
        self.assertIn("workers cannot be sorted by size (one of state, name,", text)

    def test_stableMembers(self) -> None:
        """The JSON has every member that programs rely on."""
        _, octets = self.status("--json")
        record = json.loads(octets)
        self.assertLessEqual(set(MEMBERS.split()), set(record))
        self.assertLessEqual(set(JOURNAL_MEMBERS.split()), set(record["journal"]))
        for one in record["workers"]:
            self.assertLessEqual(set(WORKER_MEMBERS.split()), set(one))
        for one in record["problems"]:
            self.assertEqual(set(PROBLEM_MEMBERS.split()), set(one))
        for one in record["outputs"]:
            self.assertLessEqual({"name", "path", "position", "blocked"}, set(one))

    def test_jsonKeepsTheRest(self) -> None:
        """A selection changes only the list of workers in the JSON."""
        _, whole = self.status("--json")
        _, part = self.status("--json", "--state=ok")
        one, other = json.loads(whole), json.loads(part)
        self.assertEqual({w["state"] for w in other.pop("workers")}, {"ok"})
        self.assertEqual(len(one.pop("workers")), 12)
        self.assertEqual(one, other)

    def test_otherVersion(self) -> None:
        """
        The status of an older version, and states and kinds of a newer one, are shown.
        """
        facts = self.facts
        for name in ("host", "uptime", "hot_path"):
            del facts[name]
        facts["workers"][3]["state"] = "pausing"
        facts["problems"].append({**facts["problems"][0], "kind": "leaking"})
        ended, text = self.status()
        self.assertEqual(ended, 1, text)
        self.assertEqual(self.shown()[0], "decky-04")
        self.assertIn("\nleaking: ", text)
        for one in facts["problems"]:
            del one["severity"], one["remedy"]
        _, text = self.status()
        self.assertIn("\nleaking: ", text)

    def test_hostileText(self) -> None:
        """Text of attackers cannot control the terminal."""
        facts = self.facts
        hostile = "\x1b]0;owned\x07\u202e\n"
        facts["host"] = facts["workers"][0]["name"] = hostile
        facts["outputs"][0]["blocked"] = facts["problems"][0]["text"] = hostile
        facts["problems"][0]["remedy"] = hostile
        _, text = self.status()
        for character in "\x1b\x07\u202e":
            self.assertNotIn(character, text)
        self.assertEqual(text.count("owned"), 5)

    def test_largeFleet(self) -> None:
        """Of 500 workers the worst can be shown alone."""
        watched = Watched()
        fleet(watched, 500)
        self.serve(watched.facts)
        self.assertEqual(len(self.shown("--state=silent")), 37)
        shown = self.shown("--sort=lag", "--limit=6")
        lags = {w["name"]: w["behind_seconds"] for w in watched.facts()["workers"]}
        self.assertEqual([lags[name] for name in shown], [570, 475, 380, 285, 190, 95])
        self.assertEqual(set(self.shown()), set(names(500)))


class OtherRoleTests(StatusTestCase):
    """The status of a forwarder and of an output writer."""

    def test_forwardersFiles(self) -> None:
        """A forwarder's files are sorted by lag, or as asked for."""
        self.serve(lambda: FORWARDER)
        ended, text = self.status()
        self.assertEqual(ended, 0)
        self.assertNotIn("\x1b", text)
        self.assertIn("decnet-forwarder 1.0.0 on decky-01, up 90 s, ", text)

        def order(*words: str) -> list[str]:
            _, octets = self.status("--json", *words)
            return [
                file["name"][5:].strip("\x1b") for file in json.loads(octets)["files"]
            ]

        self.assertEqual(order(), ["a2", "a10", "b"])
        self.assertEqual(order("--sort=undelivered"), ["a10", "a2", "b"])
        self.assertEqual(order("--sort=size", "--reverse"), ["b", "a2", "a10"])
        self.assertEqual(order("--sort=name", "--match=A"), ["a2", "a10"])
        self.assertEqual(order("--limit=1"), ["a2"])
        self.assertNotIn("throttled", text)
        held = {"reason": "rate", "text": "--max-rate allows 8\x1b"}
        self.serve(lambda: {**FORWARDER, "throttled": held})
        _, text = self.status("--match=b")
        self.assertIn(r"throttled by the master: --max-rate allows 8\x1b", text)
        self.assertIn("\n1 of 3 files:\n", text)

    def test_statesNeedAListener(self) -> None:
        """Only a listener has workers: another service is an error, in one line."""
        both: list[dict[str, Any]] = [FORWARDER, OUTPUTS]
        for facts in both:
            self.serve(partial(dict, facts))
            ended, text = self.status("--state=ok")
            self.assertEqual((ended, text.count("\n")), (2, 1))
            self.assertIn(
                f"decnet-{facts['role']} has no workers; ask a listener", text
            )
        self.serve(lambda: FORWARDER)
        self.assertIn(
            "files cannot be sorted by heard (one of lag,",
            self.status("--sort=heard")[1],
        )

    def test_outputWriter(self) -> None:
        """The output writer's status is shown."""
        self.serve(lambda: OUTPUTS)
        ended, text = self.status()
        self.assertEqual(ended, 0)
        self.assertRegex(text, r"\njson +2 batches +ok\n")
        self.assertIn("all is well", text)

"""Tests for the listener's pages: their content, escaping, and cost."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.template import Tag

from decnet_syslog.monitoring import _fleetpage as fleetpage
from decnet_syslog.monitoring import _pages as pages
from decnet_syslog.monitoring._controls import ROWS_MAX
from decnet_syslog.monitoring._pages import PAGES_MAX
from decnet_syslog.monitoring._problemkinds import PROBLEMS
from decnet_syslog.monitoring._view import View
from decnet_syslog.monitoring._workerstate import EXCERPT_OCTETS_MAX

from ..reading import Page, ask
from ..watched import (
    EXPIRING,
    GAPPED,
    HOSTILE,
    HOSTILE_FILE,
    LAGGING,
    NAMES,
    REVOKED,
    SCRIPT,
    SILENT,
    Watched,
    twelve,
)

# The only elements that our pages use, whatever text they show.
ELEMENTS = set(
    """
    html head meta title link script noscript body header main footer nav section h1 h2 p
    a span b small button form label input select option table caption thead tbody tr th
    td time ul li dl div dt dd code pre figure figcaption meter svg polygon polyline line
    """.split()  # noqa: SIM905 (forty quotes say nothing)
)

# Attributes that a browser runs or loads.
LINKS = {"href", "src", "action"}


class PagesTestCase(SynchronousTestCase):
    """A listener and its pages."""

    def setUp(self) -> None:
        self.watched = Watched()

    def page(self, path: str, code: int = 200) -> Page:
        """Request a page."""
        found, headers, body = ask(self.watched, path)
        self.assertEqual(
            (found, headers["content-type"]), (code, "text/html; charset=utf-8"), body
        )
        self.assertTrue(body.startswith("<!DOCTYPE html>\n<html"))
        return Page(body)


class FleetPageTests(PagesTestCase):
    """The page about the whole fleet."""

    def test_workersRows(self) -> None:
        """
        Each worker is shown with its state, its lag, its rate also as a curve, when it
        was last heard, its address, its certificate's end, its gaps and its newest
        line; the worst come first.
        """
        twelve(self.watched)
        page = self.page("/")
        workers = page.workers()
        self.assertEqual(
            list(workers),
            [SILENT, GAPPED, LAGGING, EXPIRING, *NAMES[:6], HOSTILE, REVOKED],
        )
        states = {name: row[0].split()[-1] for name, row in workers.items()}
        self.assertEqual(
            states,
            {
                **dict.fromkeys(NAMES, "ok"),
                SILENT: "silent",
                GAPPED: "gap",
                LAGGING: "lagging",
                EXPIRING: "expiring",
                REVOKED: "revoked",
            },
        )
        self.assertEqual(workers[LAGGING][1:3], ["95 s", "5.0 MiB"])
        self.assertEqual(workers["decky-01"][1:3], ["0", "0"])
        self.assertRegex(workers["decky-01"][3], r"^[0-9.]+$")
        said = [svg["aria-label"] or "" for svg in page.having("svg")]
        self.assertEqual(sum("at most in half an hour" in one for one in said), 12)
        self.assertEqual(workers[SILENT][5], "2 min")
        self.assertEqual(workers["decky-01"][5], "0 s")
        self.assertEqual(workers["decky-01"][6], "198.51.100.11:40077")
        self.assertEqual(workers[EXPIRING][7], "2026-12-05")
        self.assertEqual((workers[GAPPED][8], workers["decky-01"][8]), ("1", "0"))
        self.assertRegex(
            workers["decky-01"][9],
            r"<134>1 2026-11-23T14:.*login as \w+ failed$|\u2026$",
        )
        self.assertEqual(workers[REVOKED][9], "\u2013")
        links = {a["href"] for a in page.having("a")}
        self.assertLessEqual({f"worker/{name}" for name in NAMES}, links)

    def test_otherSections(self) -> None:
        """
        The page has the problems, outputs, journal, the master's certificates and the
        events.
        """
        twelve(self.watched)
        self.watched.outputs[1].blocked = "No space left on device"
        self.watched.clock.advance(1)
        page = self.page("/")
        self.assertIn("4 problems", page.text)
        self.assertIn("1 warning", page.text)
        self.assertIn(f"{SILENT} nothing received for", page.sections["problems"])
        every = "|".join(PROBLEMS)
        kinds = re.findall(f"[\u25b2\u25c6] ({every})", page.sections["problems"])
        self.assertEqual(kinds, ["blocked", "silent", "gap", "lagging", "expiring"])
        self.assertIn("octets in 1 gap will never arrive", page.sections["problems"])
        overview = page.sections["overview"]
        for said in (
            "raw \u25cf ok up to date/var/log/decnet-syslog/master.log",
            "json \u25b2 blocked up to date/var/log/decnet-syslog/master.json",
            "30.0 MiB of 1.0 GiB",
            f"2026-12-05{EXPIRING}",
            "Master 2027-09-19",
        ):
            self.assertIn(said, overview)
        self.assertIn("json No space left on device", page.sections["problems"])
        kinds = [row[1] for row in page.tables["events"][1:]]
        self.assertEqual(
            sorted(kinds), sorted(["silent", "lagging", "expiring", "gap", "refused"])
        )
        self.assertIn("another authority", page.sections["events"])

    def test_emptyFleet(self) -> None:
        """A listener without workers has a page as well."""
        page = self.page("/")
        self.assertIn("all is well", page.text)
        self.assertIn("No workers yet.", page.sections["workers"])
        self.assertIn("No events since the start.", page.sections["events"])

    def test_largeFleet(self) -> None:
        """
        A page shows a part of a large fleet and links to the rest; a search finds a
        name or an address.
        """
        for number in range(2 * ROWS_MAX + 1):
            self.watched.enroll(f"w{number:03d}")
        self.watched.connect("w007", 7)
        self.watched.look()
        first = self.page("/")
        self.assertEqual(len(first.workers()), ROWS_MAX)
        self.assertEqual(next(iter(first.workers())), "w007")
        self.assertIn("1\u201350 of 101", first.text)
        self.assertEqual(list(self.page("/?page=3").workers()), ["w100"])
        self.assertIn("101\u2013101 of 101", self.page("/?page=99999").text)
        self.assertIn("1\u201350 of 101", self.page("/?page=0&page=x").text)
        self.assertEqual(list(self.page("/?q=W007").workers()), ["w007"])
        self.watched.clock.advance(1)
        self.assertEqual(list(self.page("/?q=198.51").workers()), ["w007"])
        self.assertIn("No worker matches.", self.page("/?q=nobody").text)

    def test_pagesBothWays(self) -> None:
        """
        Above and below the table are links to the first, previous, next and last page;
        they keep the search, the filter and the order.
        """
        for number in range(2 * ROWS_MAX + 1):
            self.watched.enroll(f"w{number:03d}")
        self.watched.look()
        common = "?q=w&state=absent&sort=-name"
        first, middle, last = common, f"{common}&page=2", f"{common}&page=3"
        for path, expected in (
            (first, [middle, last]),
            (middle, [first, first, last, last]),
            (last, [first, middle]),
        ):
            page = self.page(f"/{path}")
            links = [
                a["href"]
                for a in page.having("a")
                if (a.get("aria-label") or "").endswith(" page")
            ]
            self.assertEqual(links, expected * 2)
            navs = [nav["aria-label"] for nav in page.having("nav")]
            self.assertIn("Pages, top", navs)
            self.assertIn("Pages, bottom", navs)
        self.assertEqual(next(iter(self.page(f"/{first}").workers())), "w100")
        self.watched.clock.advance(1)
        self.assertEqual(list(self.page(f"/{last}").workers()), ["w000"])


class WorkerPageTests(PagesTestCase):
    """The page about one worker."""

    def test_workersSections(self) -> None:
        """
        The page has the worker's problems, files, gaps, rates and events, and no other
        worker's.
        """
        twelve(self.watched)
        page = self.page(f"/worker/{GAPPED}")
        self.assertIn("73112 octets in 1 gap will never arrive", page.sections["how"])
        (gap,) = page.tables["gaps"][1:]
        self.assertEqual(
            [gap[1], gap[2], gap[4]], ["/var/log/decnet.log", "73\u202f112", "deleted"]
        )
        ((name, *_),) = page.tables["files"][1:]
        self.assertEqual(name, "/var/log/decnet.log")
        self.assertEqual([row[1] for row in page.tables["events"][1:]], ["gap"])
        self.assertEqual(len(page.having("svg")), 2)
        self.assertEqual(len(page.having("polyline")), 2)
        links = {a["href"] for a in page.having("a")}
        self.assertLessEqual({"../", "../#problems"}, links)
        self.assertIn("See the gap records in the outputs.", page.sections["how"])

    def test_reportedAndReceived(self) -> None:
        """
        The forwarder's report about its files is shown next to the received octets.
        """
        twelve(self.watched)
        ((_, _, delivered, of, age, _),) = self.page(f"/worker/{LAGGING}").tables[
            "files"
        ][1:]
        self.assertNotEqual(delivered, of)
        self.assertEqual(age, "95 s")

    def test_absentWorker(self) -> None:
        """
        An enrolled worker that never connected has a page; an unknown one has none.
        """
        self.watched.enroll("decky-01")
        self.watched.look()
        self.assertIn("None since the start.", self.page("/worker/decky-01").text)
        self.assertIn(
            "There is no worker with this name", self.page("/worker/decky-02", 404).text
        )
        self.assertEqual(ask(self.watched, "/worker/decky-01/x")[0], 404)
        self.assertEqual(ask(self.watched, "/worker")[0], 404)


class RecordTests(PagesTestCase):
    """The same facts as JSON."""

    def record(self, path: str) -> Any:
        """Request a JSON document."""
        code, headers, body = ask(self.watched, path)
        self.assertEqual((code, headers["content-type"]), (200, "application/json"))
        body.encode("ascii")
        return json.loads(body)

    def test_sameAsPage(self) -> None:
        """A worker's JSON has the facts of its page, and the page links to it."""
        twelve(self.watched)
        page = self.page(f"/worker/{GAPPED}")
        self.assertIn(f"{GAPPED}/status.json", {a["href"] for a in page.having("a")})
        worker = self.record(f"/worker/{GAPPED}/status.json")["worker"]
        (fact,) = [
            one
            for one in self.record("/status.json")["workers"]
            if one["name"] == GAPPED
        ]
        self.assertEqual({name: worker[name] for name in fact}, fact)
        self.assertEqual((worker["state"], worker["gaps"]), ("gap", 1))
        self.assertIn("login as", fact["newest"]["text"])
        self.assertEqual(fact["newest"]["file"], "/var/log/decnet.log")
        (gap,) = worker["last_gaps"]
        self.assertEqual((gap["end"] - gap["start"], gap["reason"]), (73112, "deleted"))
        (sent,) = worker["sent"]
        self.assertGreaterEqual(sent["position"], gap["end"])
        self.assertEqual([event["kind"] for event in worker["events"]], ["gap"])
        curve = worker["lines_per_second_lately"]
        self.assertEqual((curve["step"], len(curve["values"])), (20.0, 90))
        self.assertGreater(max(curve["values"]), 1)
        self.assertEqual(worker["lines_per_second_day"]["step"], 600.0)

    def test_hostileOctets(self) -> None:
        """Lines and file names with any octets give valid JSON."""
        twelve(self.watched)
        newest = self.record(f"/worker/{HOSTILE}/status.json")["worker"]["newest"]
        self.assertTrue(newest["text"].startswith(f"{SCRIPT}<img "))
        self.assertEqual(len(newest["text"].encode()), EXCERPT_OCTETS_MAX)
        self.assertEqual(newest["file"], HOSTILE_FILE)

    def test_hiddenLines(self) -> None:
        """With --hide-lines no line is in the JSON."""
        self.watched = Watched(hideLines=True)
        twelve(self.watched)
        for path in ("/status.json", f"/worker/{HOSTILE}/status.json"):
            self.assertNotIn("<img", ask(self.watched, path)[2])
            self.assertNotIn("login as", ask(self.watched, path)[2])

    def test_unknownPaths(self) -> None:
        """An unknown worker has no JSON, and there is nothing below a worker's JSON."""
        self.assertEqual(ask(self.watched, "/worker/x/status.json")[0], 404)
        twelve(self.watched)
        for path in ("x", "status.json/x", "status.json/"):
            found = ask(self.watched, f"/worker/{GAPPED}/{path}")[0]
            self.assertEqual(found, 404)


class HostileTests(PagesTestCase):
    """Names and messages come from an attacker."""

    def assertInert(self, page: Page) -> None:
        """
        Check that a page consists of our elements, runs our script, and loads nothing
        from others.
        """
        self.assertLessEqual(
            {tag for tag, _ in page.elements}, ELEMENTS, "an unexpected element"
        )
        (script,) = page.having("script")
        self.assertIn(script["src"], ("page.js", "../page.js"))
        for tag, attributes in page.elements:
            for name, value in attributes.items():
                self.assertFalse(name.startswith("on") or name == "style", (tag, name))
                if name in LINKS:
                    self.assertNotRegex(value or "", r"^[a-z]+:|^//", tag)

    def test_scriptInLine(self) -> None:
        """
        A script in a line is shown as text, and invisible characters are made visible.
        """
        twelve(self.watched)
        for path in ("/", f"/worker/{HOSTILE}"):
            page = self.page(path)
            self.assertInert(page)
            self.assertIn(f"{SCRIPT}<img src=x onerror=alert(1)>", page.text)
            self.assertIn("\\x1b[2J\\u202egnp.\\u2028yyy", page.text)
            self.assertNotIn("\x1b", page.text)
            self.assertNotIn("\u202e", page.text)
            self.assertNotIn("y" * EXCERPT_OCTETS_MAX, page.text)

    def test_scriptInFileName(self) -> None:
        """A script in a file name of any octets is shown as text."""
        twelve(self.watched)
        self.watched.skip(HOSTILE, 3, f"/{SCRIPT}")
        self.watched.clock.advance(1)
        page = self.page(f"/worker/{HOSTILE}")
        self.assertInert(page)
        shown = f"/var/log/{SCRIPT}\"'&\\udcff\\n.log"
        self.assertIn(f"file {shown}", page.sections["newest"])
        self.assertEqual(
            [row[0] for row in page.tables["files"][1:]], [f"/{SCRIPT}", shown]
        )
        self.assertEqual(page.tables["gaps"][1][1], f"/{SCRIPT}")

    def test_scriptInSearch(self) -> None:
        """A script in a search that an operator was lured into is shown as text."""
        page = self.page("/?q=%22%3E%3Cscript%3E%00&page=%3Cscript%3E")
        self.assertInert(page)
        (field,) = page.having("input")
        self.assertEqual(field["value"], '"><script>\\x00')
        links = [a["href"] or "" for a in page.having("a")]
        for one in links:
            self.assertNotIn("<script>", one)

    def test_scriptInEvent(self) -> None:
        """A script in any part of an event is shown as text."""
        odd = f"\"'\ud800/../{SCRIPT}"
        self.watched({"event": "refused", "log_format": odd, "worker": odd})
        page = self.page("/")
        self.assertInert(page)
        (row,) = page.tables["events"][1:]
        self.assertIn(SCRIPT, row[2])
        self.assertIn(SCRIPT, row[3])

    def test_scriptInOutput(self) -> None:
        """A script in an output's path or error is shown as text."""
        self.watched.outputs[0].output.path = f"/{SCRIPT}"
        self.watched.outputs[0].blocked = SCRIPT
        page = self.page("/")
        self.assertInert(page)
        self.assertEqual(page.sections["overview"].count(SCRIPT), 1)
        self.assertEqual(page.sections["problems"].count(SCRIPT), 1)

    def test_scriptInHostName(self) -> None:
        """A script in the name of the listener's machine is shown as text."""
        self.watched.host = f"{SCRIPT}\u202e"
        page = self.page("/")
        self.assertInert(page)
        self.assertIn(f"{SCRIPT}\\u202e: decnet-listener, up 0 s", page.text)


class CostTests(PagesTestCase):
    """Requests for pages cannot overload the listener."""

    def test_pagesAreCached(self) -> None:
        """
        A page is rendered once for the same facts, and only a few pages are rendered.
        """
        made: list[View] = []

        def fleetPage(status: Any, worker: Any, view: View, hidden: bool) -> Tag:
            made.append(view)
            return realPage(status, worker, view, hidden)

        realPage = fleetpage.fleetPage
        self.patch(pages, "fleetPage", fleetPage)
        for number in range(PAGES_MAX):
            for _ in range(3):
                self.assertEqual(ask(self.watched, f"/?q={number}")[0], 200)
        code, headers, _ = ask(self.watched, "/?q=more")
        self.assertEqual((code, headers["retry-after"]), (503, "1"))
        self.assertEqual(len(made), PAGES_MAX)
        self.assertEqual(ask(self.watched, "/?q=0")[0], 200)
        self.watched.clock.advance(1)
        self.assertEqual(ask(self.watched, "/?q=more")[0], 200)

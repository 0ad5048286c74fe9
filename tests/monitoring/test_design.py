"""
Tests for the look of the pages: contrast, labels, captions, headings, size.

tests/monitoring/test_browser.py checks the same with axe-core, where it is installed.
"""

from __future__ import annotations

import re
from importlib import resources
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.monitoring._controls import ROWS_MAX
from decnet_syslog.monitoring._icon import ICONS
from decnet_syslog.monitoring._problemkinds import THROTTLE_REMEDIES
from decnet_syslog.monitoring._selection import SORTS
from decnet_syslog.monitoring._workertable import ROOMY_MAX
from decnet_syslog.receiving._holding import HELD_REASONS, Held

from ..fleets import fleet
from ..reading import Page, ask
from ..watched import GAPPED, HOST, LAGGING, SILENT, Watched, twelve
from .test_pages import PagesTestCase

STYLE = (
    resources.files("decnet_syslog.monitoring").joinpath("page.css").read_text("utf-8")
)

# Text and its background, by the names of the colours: WCAG 2.2 asks for 4.5.
TEXTS = [
    *product(("text", "faint", "link"), ("page", "card", "head", "hover")),
    *(("good", "good-under"), ("warn", "warn-under"), ("bad", "bad-under")),
    ("faint", "quiet-under"),
]

# Borders of controls, the ring of the focus, curves and the edges of numbers: 3.
SHAPES = [
    *product(("control", "link"), ("page", "card", "hover")),
    *(("curve", "card"), ("warn", "card"), ("bad", "card"), ("warn", "page")),
]

# No page is larger, whatever the fleet: octets, and elements of the table of workers.
PAGE_OCTETS_MAX = 150_000


def colours() -> dict[str, tuple[str, str]]:
    """The colours of the style sheet: name, in the light theme, and in the dark one."""
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", STYLE)
    return {name: (light, dark) for name, light, dark in found}


def luminance(colour: str) -> float:
    """The relative luminance, as WCAG 2.2 defines it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


class StyleTests(SynchronousTestCase):
    """The style sheet."""

    def test_contrastInBothThemes(self) -> None:
        """Text and controls can be seen in both themes."""
        self.assertAlmostEqual(contrast("#000000", "#ffffff"), 21)
        every = colours()
        for pairs, least in ((TEXTS, 4.5), (SHAPES, 3.0)):
            for front, back in pairs:
                for theme in (0, 1):
                    found = contrast(every[front][theme], every[back][theme])
                    self.assertGreaterEqual(found, least, f"{front} on {back}, {theme}")

    def test_everyColourIsChecked(self) -> None:
        """The style sheet has no other colours, and all text colours are checked."""
        rest = re.sub(r"--[\w-]+: light-dark\([^)]+\);", "", STYLE)
        self.assertEqual(re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(", rest), [])
        used = set(re.findall(r"(?<![\w-])color: var\(--([\w-]+)\)", STYLE))
        self.assertEqual(used - {front for front, _ in TEXTS}, set())
        self.assertEqual(used - set(colours()), set())


class StructureTests(PagesTestCase):
    """The elements of the pages."""

    def pages(self) -> list[tuple[str, Page]]:
        """All kinds of pages."""
        twelve(self.watched)
        found = []
        for path, code in (
            ("/", 200),
            ("/?lines=hide", 200),
            ("/?q=none", 200),
            (f"/worker/{LAGGING}", 200),
            ("/worker/nobody", 404),
        ):
            found.append((path, self.page(path, code)))
        return found

    def test_oneHeadingPerPage(self) -> None:
        """Each page has one h1, its title names host and uptime, and it has an icon."""
        for path, page in self.pages():
            self.assertEqual(len(page.having("h1")), 1, path)
            self.assertRegex(page.title, rf"^\u25b23\u25c61 .*{HOST}.*, up 42 min$")
            self.assertIn("up 42 min", page.text.removeprefix(page.title))
            (icon,) = [a for a in page.having("link") if a["rel"] == "icon"]
            found, headers, _ = ask(
                self.watched, f"/{(icon['href'] or '').removeprefix('../')}"
            )
            self.assertEqual((found, headers["content-type"]), (200, "image/svg+xml"))

    def test_iconShowsTheVerdict(self) -> None:
        """The icon is green, amber or red, and has another shape in each case."""

        def icon() -> str | None:
            self.watched.clock.advance(1)
            self.watched.look()
            (found,) = [a for a in self.page("/").having("link") if a["rel"] == "icon"]
            return found["href"]

        self.assertEqual(icon(), "icon-good.svg")
        self.watched.enroll("soon", days=3)
        self.assertEqual(icon(), "icon-warn.svg")
        self.watched.outputs[0].blocked = "No space left on device"
        self.assertEqual(icon(), "icon-bad.svg")
        shapes = {re.findall(b'd="(M[^"]+)"', svg)[0] for svg in ICONS.values()}
        self.assertEqual(len(shapes), 3)

    def test_tablesHaveHeadings(self) -> None:
        """Each table has a caption, and headings for its columns and rows."""
        for path, page in self.pages():
            tables = page.having("table")
            self.assertEqual(len(page.having("caption")), len(tables), path)
            scopes = {th.get("scope") for th in page.having("th")}
            self.assertLessEqual(scopes, {"col", "row"}, path)

    def test_fieldsHaveLabels(self) -> None:
        """Each field is in a label, and each id is used once."""
        for path, page in self.pages():
            fields = [a for a in page.having("input") if a.get("type") != "hidden"]
            labels = page.having("label")
            self.assertEqual(
                len(fields) + len(page.having("select")), len(labels), path
            )
            ids = [a["id"] for _, a in page.elements if "id" in a]
            self.assertEqual(len(ids), len(set(ids)), path)
            for picture in page.having("svg"):
                self.assertTrue(picture["aria-label"], path)
            for meter in page.having("meter"):
                self.assertTrue(meter["aria-label"], path)

    def test_jumpsLeadToElements(self) -> None:
        """Each link to a part of a page leads to an element of that page."""
        for path, page in self.pages():
            ids = {a["id"] for _, a in page.elements if "id" in a}
            for a in page.having("a"):
                href = a["href"] or ""
                if href.startswith("#"):
                    self.assertIn(href[1:], ids, path)

    def test_numbersAreAtTheRight(self) -> None:
        """The cells of numbers have the class that aligns them, like their heading."""
        twelve(self.watched)
        page = self.page("/")
        numbers = {"Lag", "Undelivered", "Lines/s", "Heard", "Gaps"}
        found = {
            a["data-label"]
            for a in page.having("td")
            if "n" in (a.get("class") or "").split()
        }
        self.assertEqual(found, numbers)
        self.assertIn("font-variant-numeric: tabular-nums", STYLE)


class OrderTests(PagesTestCase):
    """Headings that sort, filters, density."""

    def heads(self, page: Page) -> dict[str, str]:
        """The direction of each column by which the page is sorted."""
        heads = [a for a in page.having("th") if a.get("scope") == "col"]
        titles = page.tables["workers"][0]
        return {
            title.rstrip("\u25b2\u25bc"): a["aria-sort"] or ""
            for title, a in zip(titles, heads, strict=False)
            if "aria-sort" in a
        }

    def sortLinks(self, page: Page) -> dict[str, str]:
        """The address behind each heading, by the order that it selects."""
        return {
            (a["id"] or "").removeprefix("sort-"): a["href"] or ""
            for a in page.having("a")
            if (a.get("id") or "").startswith("sort-")
        }

    def test_headingsSort(self) -> None:
        """A heading sorts by its column, and another click reverses the order."""
        twelve(self.watched)
        self.watched.commits.full = False
        page = self.page("/")
        self.assertEqual(self.heads(page), {"State": "ascending"})
        links = self.sortLinks(page)
        self.assertEqual(set(links), set(SORTS) - {"lines"})
        lag = self.page("/" + links["lag"])
        self.assertEqual(self.heads(lag), {"Lag": "descending"})
        self.assertEqual(next(iter(lag.workers())), LAGGING)
        self.watched.clock.advance(1)
        turned = self.page("/" + self.sortLinks(lag)["lag"])
        self.assertEqual(self.heads(turned), {"Lag": "ascending"})
        # Workers that reported nothing come last in both directions.
        lags = {name: row[1] for name, row in turned.workers().items()}
        known = [name for name, lag in lags.items() if lag != "-"]
        self.assertEqual(known[-1], LAGGING)
        self.assertEqual(list(lags)[: len(known)], known)
        self.assertEqual(self.sortLinks(turned)["lag"], "?sort=lag")

    def test_orderByField(self) -> None:
        """The form has the order, because a narrow window has no headings."""
        twelve(self.watched)
        page = self.page("/?sort=-lag")
        options = {a["value"] for a in page.having("option")}
        self.assertEqual(options, {*SORTS, "-lag"})
        (chosen,) = [a for a in page.having("option") if "selected" in a]
        self.assertEqual(chosen["value"], "-lag")

    def test_filterIsNotASearch(self) -> None:
        """A worker called "tokyo" is not found as "ok"."""
        for name in ("tokyo", "ams"):
            self.watched.enroll(name)
        self.watched.connect("ams", 1)
        self.watched.look()
        self.assertEqual(list(self.page("/?state=ok").workers()), ["ams"])
        self.assertEqual(list(self.page("/?q=ok").workers()), ["tokyo"])
        page = self.page("/?state=absent&q=o")
        self.assertEqual(list(page.workers()), ["tokyo"])
        (current,) = [a for a in page.having("a") if "aria-current" in a]
        self.assertEqual(current["href"], "?q=o&state=absent")
        hidden = {a["name"]: a["value"] for a in page.having("input") if "value" in a}
        self.assertEqual(hidden, {"q": "o", "state": "absent"})
        self.assertIn("All 2", page.text.replace("All2", "All 2"))

    def test_oneLineEachWhenMany(self) -> None:
        """With many workers each takes one line; the newest lines can be shown."""
        for number in range(ROOMY_MAX):
            self.watched.enroll(f"w{number}")
        self.watched.look()
        few = self.page("/")
        self.assertEqual(len(few.tables["workers"]), 1 + 2 * ROOMY_MAX)
        self.watched.enroll("one-more")
        self.watched.clock.advance(1)
        self.watched.look()
        many = self.page("/")
        self.assertEqual(len(many.tables["workers"]), 1 + ROOMY_MAX + 1)
        (link,) = [a for a in many.having("a") if a.get("id") == "density"]
        self.assertEqual(link["href"], "?lines=show")
        shown = self.page("/?lines=show")
        self.assertEqual(len(shown.tables["workers"]), 1 + 2 * (ROOMY_MAX + 1))

    def test_absentComesLast(self) -> None:
        """A worker that is not there comes after those that are."""
        for name in ("a-absent", "b-there"):
            self.watched.enroll(name)
        self.watched.connect("b-there", 1)
        self.watched.look()
        self.assertEqual(list(self.page("/").workers()), ["b-there", "a-absent"])


class ProblemTests(PagesTestCase):
    """Problems and their remedies."""

    def test_everyProblemHasItsRemedy(self) -> None:
        """Each kind of problem is shown once, with its remedy."""
        twelve(self.watched)
        self.watched.outputs[0].blocked = "No space left on device"
        self.watched.components.journal.octets = (
            self.watched.components.journalOctetsMax
        )
        self.watched.clock.advance(1)
        page = self.page("/")
        found = page.sections["problems"]
        kinds = {one["kind"] for one in self.watched.facts()["problems"]}
        self.assertEqual(len(kinds), 6)
        self.assertEqual(found.count("Remedy: "), len(kinds))
        for one in self.watched.facts()["problems"]:
            self.assertIn(f"Remedy: {one['remedy']}.", found)
        worker = self.page(f"/worker/{SILENT}").sections["how"]
        self.assertIn("Remedy: Check that decnet-forwarder runs there", worker)

    def test_amberAndRed(self) -> None:
        """Warnings are amber and errors red, in text and numbers."""
        self.watched.enroll("soon", days=3)
        self.watched.look()
        page = self.page("/")
        tones = {a.get("class") for a in page.having("span")}
        self.assertIn("badge warn", tones)
        self.assertNotIn("badge bad", tones)
        self.assertIn("1 warning", page.text)
        self.assertNotIn("problem ", page.text)
        numbers = [a.get("class") for a in page.having("div")]
        self.assertEqual(numbers.count("warn"), 1)
        self.watched.enroll("late", days=-3)
        self.watched.clock.advance(1)
        self.watched.look()
        page = self.page("/")
        self.assertIn("badge bad", {a.get("class") for a in page.having("span")})
        self.assertIn("1 problem", page.text)
        numbers = [a.get("class") for a in page.having("div")]
        self.assertEqual((numbers.count("warn"), numbers.count("bad")), (0, 1))

    def test_throttledWorker(self) -> None:
        """
        A worker that the listener holds back is amber, with the reason and its remedy;
        the numbers at the top count such workers.
        """
        twelve(self.watched)
        for reason, remedy in THROTTLE_REMEDIES.items():
            held = {"decky-01": Held(reason, "--max-rate allows 8 octets a second")}
            self.watched.components.factory.holding.held = held.copy
            self.watched.clock.advance(1)
            self.watched.look()
            page = self.page("/")
            self.assertEqual(page.workers()["decky-01"][0], "\u25c6 throttled")
            self.assertIn("1 throttled", page.sections["overview"])
            self.assertIn("?state=throttled", {a["href"] for a in page.having("a")})
            found = self.page("/?state=throttled").workers()
            self.assertEqual(list(found), ["decky-01"])
            how = self.page("/worker/decky-01").sections["how"]
            self.assertIn("--max-rate allows 8 octets a second", how)
            self.assertIn(f"Remedy: {remedy}.", how)
        self.assertEqual(set(THROTTLE_REMEDIES), set(HELD_REASONS))

    def test_unknownReason(self) -> None:
        """A reason without a remedy is shown without one."""
        twelve(self.watched)
        held = {"decky-01": Held("other", "something new")}
        self.watched.components.factory.holding.held = held.copy
        self.watched.look()
        how = self.page("/worker/decky-01").sections["how"]
        self.assertIn("something new", how)
        self.assertNotIn("Remedy", how)

    def test_manyOfOneKind(self) -> None:
        """Of many problems of one kind a few are shown, with a link to all."""
        fleet(self.watched, 500)
        page = self.page("/")
        self.assertIn("and 34 more", page.sections["problems"])
        links = {a["href"] for a in page.having("a")}
        self.assertIn("?state=silent#workers", links)
        self.assertEqual(page.sections["problems"].count("nothing received"), 3)


class ChartTests(PagesTestCase):
    """The charts of the fleet and of each worker."""

    def test_axesHaveTimesAndRates(self) -> None:
        """The charts have times in UTC and rates on their axes, and a summary."""
        twelve(self.watched)
        for path in ("/", f"/worker/{GAPPED}"):
            page = self.page(path)
            found = page.sections["rates"]
            # 2026-11-23, 14:42:06 UTC: half an hour before, and a day before.
            self.assertIn("14:1214:2214:3214:42", found)
            self.assertIn("14:4220:4202:4208:4214:42", found)
            self.assertRegex(found, r"Last half hour[\d.]+ now, [\d.]+ at most[\d.]+")
            said = [a["aria-label"] or "" for a in page.having("svg")]
            self.assertTrue(any(one.startswith("Last day: ") for one in said), said)

    def test_newListener(self) -> None:
        """Right after the start the page says that there is no value yet."""
        self.assertIn(
            "the first value is not there yet", self.page("/").sections["rates"]
        )


class SizeTests(SynchronousTestCase):
    """The cost of a page does not grow with the fleet."""

    def test_pageIsBounded(self) -> None:
        """With ten times the workers a page has as many rows, and its size is bounded."""
        for count, rows in ((50, 50), (500, ROWS_MAX)):
            watched = Watched()
            fleet(watched, count)
            for query in ("", "?lines=show", "?sort=-name&page=2"):
                watched.clock.advance(1)
                _, _, body = ask(watched, f"/{query}")
                page = Page(body)
                self.assertEqual(len(page.workers()), rows)
                self.assertLess(len(body.encode()), PAGE_OCTETS_MAX, (count, query))

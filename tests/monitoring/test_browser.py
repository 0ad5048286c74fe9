"""Tests for the listener's pages in a real browser."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import TestCase

from ..browser import Browser, Steps, reactor
from ..fleets import fleet
from ..peers import requireModule, requirePeer
from ..watched import HOST, HOSTILE, LAGGING, NAMES, SCRIPT, Watched, twelve

# The narrowest phone window still common, in pixels.
NARROW = 380

BACKGROUND = "getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(244, 246, 248)", "rgb(16, 20, 24)"

# The names in the table, in order.
SHOWN = (
    "[...document.querySelectorAll('.workers th[scope=row]')].map(e => e.textContent)"
)


class BrowserTestCase(TestCase):
    """Chromium, and a listener with twelve workers."""

    timeout = 240

    def populate(self) -> None:
        """Make the workers."""
        twelve(self.watched)

    @inlineCallbacks
    def setUp(self) -> Steps:  # type: ignore[override]
        program = requirePeer("chromium")
        self.watched = Watched(reactor)
        self.populate()
        self.port = reactor.listenTCP(0, self.watched.site, interface="127.0.0.1")
        self.addCleanup(self.stopServing)
        self.url = f"http://127.0.0.1:{self.port.getHost().port}/"
        self.browser = Browser.start(program)
        self.addCleanup(self.browser.stop)
        self.tab = yield self.browser.open()
        yield self.tab.size(1200, 1090)
        yield self.tab.prefer("light")
        yield self.tab.go(self.url)

    @inlineCallbacks
    def stopServing(self) -> Steps:
        """Close the port and its connections."""
        yield self.port.stopListening()
        for protocol in list(self.watched.site.protocols):
            protocol.transport.abortConnection()

    @inlineCallbacks
    def assertValue(self, expression: str, expected: Any) -> Steps:
        """Check the value of an expression on the page."""
        found = yield self.tab.evaluate(expression)
        self.assertEqual(found, expected, expression)


class BrowserTests(BrowserTestCase):
    """Chromium shows the pages of a listener with twelve workers."""

    @inlineCallbacks
    def test_fleetPage(self) -> Steps:
        """
        The page lists all twelve workers, shows a script inside a line as text, and
        links to each worker.
        """
        found = yield self.tab.evaluate(SHOWN)
        self.assertEqual(sorted(found), sorted(NAMES))
        lines = yield self.tab.evaluate(
            "[...document.querySelectorAll('code')].map(c => c.textContent)"
        )
        self.assertTrue(any(line.startswith(SCRIPT) for line in lines), lines)
        title = yield self.tab.evaluate("document.title")
        self.assertEqual(title, f"\u25b23\u25c61 {HOST}: decnet-listener, up 42 min")
        yield self.tab.click(f"a[href='worker/{HOSTILE}']")
        yield self.tab.until("location.pathname.startsWith('/worker/')")
        yield self.tab.until("document.readyState === 'complete'")
        yield self.assertValue(
            "document.title", f"\u25b23\u25c61 {HOSTILE}: ok on {HOST}, up 42 min"
        )
        pre = yield self.tab.evaluate("document.querySelector('pre').textContent")
        self.assertTrue(pre.startswith(SCRIPT), pre)
        yield self.assertValue("document.scripts.length", 1)
        yield self.assertValue("document.images.length", 0)
        self.assertEqual(self.browser.complaints, [])

    @inlineCallbacks
    def test_injectedScript(self) -> Steps:
        """The browser does not run an injected script."""
        yield self.tab.evaluate(
            "(() => { const s = document.createElement('script');"
            " s.textContent = 'document.title = \"owned\"'; document.body.append(s);"
            " const d = document.createElement('div'); document.body.append(d);"
            " d.innerHTML = '<img src=x onerror=\"document.title = &quot;owned&quot;\">';"
            "})()"
        )
        yield self.tab.evaluate("new Promise(done => setTimeout(done, 0))")
        title = yield self.tab.evaluate("document.title")
        self.assertNotIn("owned", title)
        said = " ".join(self.browser.complaints)
        self.assertIn("script-src 'self'", said)
        self.assertIn("Content Security Policy", said)

    @inlineCallbacks
    def test_pageUpdatesItself(self) -> Steps:
        """
        The page updates itself without being loaded again, and shows when it cannot.
        """
        yield self.tab.evaluate("window.same = true")
        self.watched.send("decky-01", b"something new\n")
        self.watched.disconnect(LAGGING)
        self.watched.clock.advance(1)
        self.watched.look()
        yield self.tab.until("document.body.textContent.includes('something new')")
        yield self.assertValue("window.same", True)
        yield self.assertValue("document.getElementById('stale').hidden", True)
        self.assertEqual(self.browser.complaints, [])
        yield self.stopServing()
        yield self.tab.until("!document.getElementById('stale').hidden")
        said = yield self.tab.evaluate("document.getElementById('stale').textContent")
        self.assertIn("this page is out of date", said)

    @inlineCallbacks
    def test_themeFollowsSystem(self) -> Steps:
        """
        The page follows the system's theme; the button changes it, and the choice is
        remembered.
        """
        yield self.assertValue(BACKGROUND, LIGHT)
        yield self.tab.prefer("dark")
        yield self.assertValue(BACKGROUND, DARK)
        yield self.tab.click("#theme")
        yield self.tab.until(f"{BACKGROUND} === '{LIGHT}'")
        yield self.tab.go(f"{self.url}worker/{LAGGING}")
        yield self.assertValue(BACKGROUND, LIGHT)
        yield self.assertValue("document.getElementById('theme').textContent", "Dark")
        yield self.tab.prefer("light")
        yield self.tab.click("#theme")
        yield self.tab.until(f"{BACKGROUND} === '{DARK}'")
        self.assertEqual(self.browser.complaints, [])

    @inlineCallbacks
    def test_anyWidth(self) -> Steps:
        """
        In any window, from a phone to a wide screen, everything is shown inside the
        window, however long the names are.
        """
        long = "w" * 64
        self.watched.host = "h" * 64
        self.watched.enroll(long)
        self.watched.connect(long, 99)
        self.watched.lines[long].address = f"[2001:db8{':ffff' * 6}]:65535"
        self.watched.outputs[0].blocked = "x" * 300
        self.watched.outputs[1].output.path = "/p" * 150
        self.watched.look()
        paths = ("", "?lines=hide", f"worker/{long}", f"worker/{HOSTILE}")
        for path in paths:
            self.watched.clock.advance(1)
            yield self.tab.go(self.url + path)
            for width in (NARROW, 320, 600, 641, 860, 1000, 1150, 1160, 1280):
                yield self.tab.size(width, 800)
                outside = yield self.tab.evaluate(
                    "[...document.querySelectorAll('body *')].filter(e => { const r ="
                    f" e.getBoundingClientRect(); return r.width && r.right > {width}"
                    # The cells of the list cut their content.
                    " && !e.parentElement.closest('.workers :is(td, th)')"
                    " }).map(e => e.outerHTML.slice(0, 80))"
                )
                self.assertEqual(outside, [], f"{path} {width}")
                yield self.assertValue("document.documentElement.scrollWidth", width)

    @inlineCallbacks
    def test_withoutScript(self) -> Steps:
        """
        Without JavaScript everything is shown, and there is no button without function.
        """
        yield self.tab.send("Emulation.setScriptExecutionDisabled", value=True)
        yield self.tab.go(self.url)
        rows = yield self.tab.evaluate(
            "document.querySelectorAll('.workers tbody').length"
        )
        self.assertEqual(rows, len(NAMES))
        yield self.assertValue("document.getElementById('theme').hidden", True)
        again = "document.querySelector('noscript meta').httpEquiv"
        yield self.assertValue(again, "refresh")

    @inlineCallbacks
    def test_formWithoutScript(self) -> Steps:
        """Without JavaScript the form's button searches, and keeps the filter."""
        yield self.tab.send("Emulation.setScriptExecutionDisabled", value=True)
        yield self.tab.go(f"{self.url}?state=ok")
        yield self.tab.click("#search")
        yield self.tab.type("-03")
        yield self.tab.click("#find button")
        yield self.tab.until("location.search.includes('q=-03')")
        yield self.tab.until("document.readyState === 'complete'")
        yield self.assertValue(SHOWN, ["decky-03"])
        yield self.assertValue(
            "new URLSearchParams(location.search).get('state')", "ok"
        )

    @inlineCallbacks
    def test_searchAsTyped(self) -> Steps:
        """
        The search shows its result while it is typed, without loading the page again.
        The key / leads to it; a screen reader announces the result.
        """
        yield self.tab.evaluate("window.same = true")
        yield self.tab.press("/")
        yield self.assertValue("document.activeElement.id", "search")
        yield self.tab.type("-03")
        yield self.tab.until(f"({SHOWN}).length === 1")
        yield self.assertValue(SHOWN, ["decky-03"])
        yield self.assertValue("window.same", True)
        yield self.assertValue("location.search", "?q=-03")
        yield self.assertValue("document.getElementById('search').value", "-03")
        yield self.assertValue("document.activeElement.id", "search")
        found = yield self.tab.evaluate("document.getElementById('found').textContent")
        self.assertEqual(found, "1 of 12 workers, worst state first")
        # The answer comes a second later: more pages are asked for than are made.
        for text in "xyzuvwxyz":
            yield self.tab.type(text)
            yield self.tab.evaluate("new Promise(done => setTimeout(done, 250))")
        self.watched.clock.advance(1)
        yield self.tab.until("document.querySelector('.workers') === null")
        yield self.assertValue("document.getElementById('stale').hidden", True)
        self.assertEqual(
            [c for c in self.browser.complaints if "503" not in c],
            [],
        )

    @inlineCallbacks
    def test_filterAndSort(self) -> Steps:
        """
        Filters and headings work without loading the page, keep the keyboard's focus,
        and the browser's Back leads back.
        """
        yield self.tab.evaluate("window.same = true")
        yield self.tab.click("#sort-name")
        yield self.tab.until(f"({SHOWN})[0] === 'decky-01'")
        yield self.tab.evaluate("document.getElementById('sort-name').focus()")
        yield self.tab.press("Enter")
        yield self.tab.until(f"({SHOWN})[0] === 'decky-12'")
        yield self.assertValue("document.activeElement.id", "sort-name")
        yield self.assertValue(
            "document.querySelector('[aria-sort]').ariaSort", "descending"
        )
        yield self.tab.click(".filters a[href*='state=lagging']")
        yield self.tab.until(f"({SHOWN}).length === 1")
        yield self.assertValue(SHOWN, [LAGGING])
        yield self.assertValue(
            "document.querySelector('#find [name=state]').value", "lagging"
        )
        self.watched.clock.advance(1)
        yield self.tab.evaluate("history.back()")
        yield self.tab.until(f"({SHOWN}).length === 12")
        yield self.assertValue(f"({SHOWN})[0]", "decky-12")
        yield self.assertValue("window.same", True)
        self.assertEqual(self.browser.complaints, [])

    @inlineCallbacks
    def test_everyControlByTab(self) -> Steps:
        """
        Every control can be reached with Tab, shows that it has the focus, and the first
        one skips the head of the page.
        """
        seen = []
        focused = (
            "(() => { const e = document.activeElement;"
            " const s = getComputedStyle(e); const r = e.getBoundingClientRect();"
            " return {name: e.id || e.className || e.getAttribute('href'),"
            " ring: parseFloat(s.outlineWidth), line: s.outlineStyle,"
            " top: r.top, width: r.width} })()"
        )
        controls = yield self.tab.evaluate(
            "[...document.querySelectorAll('a[href], button, input, select')]"
            ".filter(e => e.offsetParent !== null || e.className === 'skip').length"
        )
        for _ in range(controls):
            yield self.tab.press("Tab")
            found = yield self.tab.evaluate(focused)
            self.assertGreaterEqual(found["ring"], 2, found)
            self.assertNotEqual(found["line"], "none", found)
            self.assertGreater(found["width"], 0, found)
            seen.append(found["name"])
        self.assertEqual(seen[0], "skip")
        for name in ("theme", "search", "sort-lag", "density", f"worker/{LAGGING}"):
            self.assertIn(name, seen)
        self.assertEqual(seen[-1], "metrics")


class LargeFleetTests(BrowserTestCase):
    """Chromium shows a fleet of 500 workers."""

    def populate(self) -> None:
        """Make the fleet."""
        fleet(self.watched, 500)

    @inlineCallbacks
    def test_manyWorkers(self) -> Steps:
        """
        Each of many workers takes one line, in a wide window and in a narrow one. The
        links to other pages lead there and back without loading the page.
        """
        for width in (NARROW, 1280):
            yield self.tab.size(width, 900)
            yield self.tab.go(self.url)
            heights = yield self.tab.evaluate(
                "[...document.querySelectorAll('.workers tbody tr')]"
                ".map(e => e.offsetHeight)"
            )
            self.assertEqual(len(heights), 50)
            self.assertLess(max(heights), 40)
            yield self.assertValue("document.documentElement.scrollWidth", width)
        yield self.tab.evaluate("window.same = true")
        first = yield self.tab.evaluate(SHOWN)
        yield self.tab.click("#top-next")
        yield self.tab.until("location.search === '?page=2'")
        yield self.tab.until(f"({SHOWN})[0] !== {first[0]!r}")
        yield self.assertValue(
            "document.querySelector('.pages .count').textContent", "51\u2013100 of 500"
        )
        yield self.tab.click("#bottom-previous")
        yield self.tab.until(f"({SHOWN})[0] === {first[0]!r}")
        yield self.assertValue("window.same", True)
        self.assertEqual(self.browser.complaints, [])


class AccessibilityTests(BrowserTestCase):
    """axe-core finds nothing to complain about."""

    @inlineCallbacks
    def test_pagesPassAxe(self) -> Steps:
        """Every page, in both themes and two widths, passes axe's rules."""
        program = Path(requireModule("axe-core")) / "axe.min.js"
        source = program.read_text("utf-8")
        for width, theme in product((1280, NARROW), ("light", "dark")):
            yield self.tab.size(width, 900)
            yield self.tab.prefer(theme)
            for path in ("", "?lines=hide", "?q=none", f"worker/{LAGGING}", "worker/x"):
                self.watched.clock.advance(1)
                yield self.tab.go(self.url + path)
                yield self.tab.evaluate(f"{source};0")
                found = yield self.tab.evaluate(
                    "axe.run().then(r => r.violations.map(v => [v.id, v.help,"
                    " v.nodes.slice(0, 3).map(n => n.html + ' ' + n.failureSummary)]))"
                )
                self.assertEqual(found, [], f"{path} {width} {theme}")

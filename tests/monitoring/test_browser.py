"""Tests for the listener's pages in a real browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import TestCase

from ..browser import Browser, Steps, reactor
from ..peers import requirePeer
from ..watched import HOSTILE, LAGGING, NAMES, SCRIPT, Watched, twelve

# The narrowest phone window still common, in pixels.
NARROW = 380

BACKGROUND = "getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(246, 247, 249)", "rgb(18, 21, 26)"


class BrowserTests(TestCase):
    """Chromium shows the pages of a listener with twelve workers."""

    timeout = 240

    @inlineCallbacks
    def setUp(self) -> Steps:  # type: ignore[override]
        program = requirePeer("chromium")
        self.watched = Watched(reactor)
        twelve(self.watched)
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

    def complaints(self) -> list[str]:
        """The browser's complaints, except about the missing icon."""
        return [c for c in self.browser.complaints if "favicon" not in c]

    @inlineCallbacks
    def test_fleetPage(self) -> Steps:
        """
        The page lists all twelve workers, shows a script inside a line as text, and
        links to each worker. DECNET_SYSLOG_SCREENSHOT=$PWD/docs/status.png renews the
        documentation's picture.
        """
        names = "[...document.querySelectorAll('.workers td:first-child a')]"
        found = yield self.tab.evaluate(f"{names}.map(a => a.textContent)")
        self.assertEqual(sorted(found), sorted(NAMES))
        lines = yield self.tab.evaluate(
            "[...document.querySelectorAll('code')].map(c => c.textContent)"
        )
        self.assertTrue(any(line.startswith(SCRIPT) for line in lines), lines)
        title = yield self.tab.evaluate("document.title")
        self.assertEqual(title, "\u25b24 decnet-listener")
        picture = yield self.tab.picture()
        self.assertTrue(picture.startswith(b"\x89PNG"))
        saved = os.environ.get("DECNET_SYSLOG_SCREENSHOT")
        if saved:
            Path(saved).write_bytes(picture)
        yield self.tab.click(f"a[href='worker/{HOSTILE}']")
        yield self.tab.until("location.pathname.startsWith('/worker/')")
        yield self.tab.until("document.readyState === 'complete'")
        yield self.assertValue("document.title", f"\u25b24 {HOSTILE}: ok")
        pre = yield self.tab.evaluate("document.querySelector('pre').textContent")
        self.assertTrue(pre.startswith(SCRIPT), pre)
        yield self.assertValue("document.scripts.length", 1)
        yield self.assertValue("document.images.length", 0)
        self.assertEqual(self.complaints(), [])

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
        said = " ".join(self.complaints())
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
        self.assertEqual(self.complaints(), [])
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
        self.assertEqual(self.complaints(), [])

    @inlineCallbacks
    def test_narrowWindow(self) -> Steps:
        """
        On a phone everything is shown inside the window, however long the names are.
        """
        long = "w" * 64
        self.watched.enroll(long)
        self.watched.connect(long, 99)
        self.watched.lines[long].address = f"[2001:db8{':ffff' * 6}]:65535"
        self.watched.outputs[0].blocked = "x" * 300
        self.watched.clock.advance(1)
        self.watched.look()
        yield self.tab.size(NARROW, 800)
        for path in ("", f"worker/{long}", f"worker/{HOSTILE}", f"worker/{LAGGING}"):
            yield self.tab.go(self.url + path)
            yield self.assertValue("document.documentElement.scrollWidth", NARROW)
            outside = yield self.tab.evaluate(
                "[...document.querySelectorAll('body *')].filter(e => { const r ="
                f" e.getBoundingClientRect(); return r.width && r.right > {NARROW} }})"
                ".map(e => e.outerHTML.slice(0, 80))"
            )
            self.assertEqual(outside, [])

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

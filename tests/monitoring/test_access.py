"""
Tests for access to the listener's pages, and for the restrictions that they set for
browsers.
"""

from __future__ import annotations

from decnet_syslog.master.tap import Options
from decnet_syslog.monitoring._frame import AGAIN_S

from ..reading import ask
from ..watched import HOSTILE, SCRIPT, Watched, twelve
from .test_pages import PagesTestCase


class AccessTests(PagesTestCase):
    """Which requests are answered, and what a browser may do with the answer."""

    PATHS = ("/", "/worker/x", "/page.js", "/page.css", "/status.json", "/none")

    def test_securityHeaders(self) -> None:
        """
        Every answer, even a refusal, makes the browser run and load only our own files,
        cache nothing, guess no types, and show the page in no frame.
        """
        for path in self.PATHS:
            for host in ("127.0.0.1", "evil.example"):
                _, headers, _ = ask(self.watched, path, host)
                policy = headers["content-security-policy"].split("; ")
                self.assertEqual(
                    sorted(policy),
                    [
                        "base-uri 'none'",
                        "connect-src 'self'",
                        "default-src 'none'",
                        "form-action 'self'",
                        "frame-ancestors 'none'",
                        "img-src 'self'",
                        "script-src 'self'",
                        "style-src 'self'",
                    ],
                )
                self.assertEqual(headers["x-content-type-options"], "nosniff")
                self.assertEqual(headers["cache-control"], "no-store")
                self.assertEqual(headers["x-frame-options"], "deny")
                self.assertEqual(headers["referrer-policy"], "no-referrer")
                self.assertNotIn("set-cookie", headers)
                self.assertNotIn("access-control-allow-origin", headers)

    def test_contentTypes(self) -> None:
        """Script and style have the right content types and come from this package."""
        for path, kind in (("/page.js", "text/javascript"), ("/page.css", "text/css")):
            code, headers, body = ask(self.watched, path)
            self.assertEqual(
                (code, headers["content-type"]), (200, f"{kind}; charset=utf-8")
            )
            self.assertNotIn("http", body)

    def test_hostName(self) -> None:
        """
        A request under another host name, as caused by DNS rebinding, gets no data,
        whatever the path and method; every loopback name is answered.
        """
        twelve(self.watched)
        for host in (
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:6515",
            "192.0.2.1:6515",
            "[2001:db8::1]:6515",
            "0.0.0.0",
            "",
            "127.0.0.1\r\nHost: evil.example",
        ):
            for path in self.PATHS:
                for method in ("GET", "POST"):
                    code, _, body = ask(self.watched, path, host, method)
                    self.assertEqual((code, body), (403, "ask for 127.0.0.1\n"), host)
        for good in ("localhost:6515", "127.0.0.1", "127.3.2.1", "[::1]:6515", None):
            self.assertEqual(ask(self.watched, "/", good)[0], 200, good)

    def test_readOnly(self) -> None:
        """Only GET and HEAD are accepted."""
        for path in self.PATHS[:-1]:
            self.assertEqual(ask(self.watched, path, method="POST")[0], 405, path)
        for path in ("/", "/page.css", "/status.json"):
            code, headers, body = ask(self.watched, path, method="HEAD")
            self.assertEqual((code, body), (200, ""))
            _, _, body = ask(self.watched, path)
            self.assertEqual(int(headers["content-length"]), len(body.encode()))

    def test_hiddenLines(self) -> None:
        """With --hide-lines no page shows a line."""
        self.watched = Watched(hideLines=True)
        twelve(self.watched)
        for path in ("/", f"/worker/{HOSTILE}"):
            page = self.page(path)
            self.assertNotIn(SCRIPT[:8], page.sections.get("newest", ""))
            self.assertNotIn("<img", page.text)
            self.assertNotIn("<134>", page.text)
        self.assertIn("--hide-lines", self.page(f"/worker/{HOSTILE}").text)
        options = Options()
        options.parseOptions(["--hide-lines"])
        self.assertTrue(options.status.hideLines)

    def test_withoutScript(self) -> None:
        """
        Without JavaScript the page reloads itself, and has no button without function.
        """
        page = self.page("/")
        again = [m for m in page.having("meta") if "http-equiv" in m]
        self.assertEqual(again, [{"http-equiv": "refresh", "content": str(AGAIN_S)}])
        self.assertLess(
            page.elements.index(("noscript", {})),
            page.elements.index(("meta", again[0])),
        )
        buttons = {b.get("id"): b for b in page.having("button")}
        self.assertIn("hidden", buttons["theme"])

"""
A real Chromium without a window, driven over the DevTools protocol.

It is spoken over two pipes, as JSON with a NUL behind each message: so no port is opened,
and no client for websockets is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from base64 import b64decode
from contextlib import suppress
from typing import Any

from twisted.internet import reactor as reactorModule
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

__all__ = ["Browser", "Steps", "Tab"]

reactor: Any = reactorModule

# What inlineCallbacks runs.
Steps = Any

# Pipes that Chromium reads and writes with --remote-debugging-pipe.
TO_CHROMIUM, FROM_CHROMIUM = 3, 4

# How often a condition is looked at, in seconds.
LOOK_S = 0.05

_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    # A sandbox takes user namespaces or a setuid program, which containers do not have; it
    # is shown our own page.
    "--no-sandbox",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--password-store=basic",
)


class Refused(Exception):
    """Chromium does not do what it was asked."""


class Browser(ProcessProtocol):
    """
    The process.

    @ivar said: what it wrote on its standard error.
    @ivar complaints: what pages' consoles and policies had to say.
    """

    def __init__(self) -> None:
        self.said = b""
        # Of its own, and not below a test's: it holds a socket, whose path may have 107
        # octets. It also has what would be left in /tmp otherwise.
        self._directory = tempfile.mkdtemp(prefix="decnet-syslog-browser-")
        self.complaints: list[str] = []
        self.ended: Deferred[None] = Deferred()
        self._octets = bytearray()
        self._number = 0
        self._waiting: dict[int, Deferred[Any]] = {}

    @classmethod
    def start(cls, program: str) -> Browser:
        """Start it."""
        browser = cls()
        home = browser._directory
        reactor.spawnProcess(
            browser,
            program,
            [program, *_OPTIONS, f"--user-data-dir={home}"],
            # Not the user's own settings, nowhere to talk to, nothing left in /tmp.
            env={"PATH": os.environ.get("PATH", ""), "HOME": home, "TMPDIR": home},
            childFDs={0: "w", 1: "r", 2: "r", TO_CHROMIUM: "w", FROM_CHROMIUM: "r"},
        )
        return browser

    def send(self, method: str, session: str = "", **parameters: Any) -> Deferred[Any]:
        """Ask for something. Fires with the result."""
        self._number += 1
        done: Deferred[Any] = Deferred()
        self._waiting[self._number] = done
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        transport: Any = self.transport
        transport.writeToChild(TO_CHROMIUM, json.dumps(message).encode() + b"\0")
        return done

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Messages, or words."""
        if childFD != FROM_CHROMIUM:
            self.said = (self.said + data)[-5000:]
            return
        self._octets += data
        while True:
            message, end, rest = self._octets.partition(b"\0")
            if not end:
                return
            self._octets = rest
            self._heard(json.loads(message))

    def _heard(self, message: Any) -> None:
        if "id" not in message:
            self._happened(message["method"], message["params"])
            return
        done = self._waiting.pop(message["id"])
        if "error" in message:
            done.errback(Failure(Refused(message["error"]["message"])))
        else:
            done.callback(message["result"])

    def _happened(self, method: str, parameters: Any) -> None:
        if method == "Log.entryAdded":
            entry = parameters["entry"]
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))

    def processEnded(self, reason: Failure) -> None:
        """It and all that it started have closed their pipes: nobody answers any more."""
        shutil.rmtree(self._directory, ignore_errors=True)
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            said = self.said.decode("utf-8", "replace")
            done.errback(Failure(Refused(f"chromium has ended: {said}")))
        self.ended.callback(None)

    @inlineCallbacks
    def open(self) -> Steps:
        """Open a tab."""
        target = yield self.send("Target.createTarget", url="about:blank")
        attached = yield self.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        tab = Tab(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            yield tab.send(f"{domain}.enable")
        return tab

    def stop(self) -> Deferred[None]:
        """End it, whether or not it still does what it is asked. Fires when it has ended."""
        transport: Any = self.transport
        with suppress(ProcessExitedAlready):
            transport.signalProcess("KILL")
        return self.ended


class Tab:
    """A page that is shown."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def send(self, method: str, **parameters: Any) -> Deferred[Any]:
        """Ask this tab for something."""
        return self._browser.send(method, self._session, **parameters)

    @inlineCallbacks
    def evaluate(self, expression: str) -> Steps:
        """
        The value of an expression of JavaScript.

        It is the debugger's, which no page's policy forbids.
        """
        answer = yield self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise Refused(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    @inlineCallbacks
    def until(self, expression: str) -> Steps:
        """Wait for an expression to be true; the test's own time bounds it."""
        while True:
            try:
                if (yield self.evaluate(expression)):
                    return
            except Refused as error:
                # Between two pages there is none.
                if "context" not in str(error):
                    raise
            yield deferLater(reactor, LOOK_S)

    @inlineCallbacks
    def go(self, url: str) -> Steps:
        """Show a page."""
        yield self.send("Page.navigate", url=url)
        yield self.until(
            f"location.href === {json.dumps(url)} && document.readyState === 'complete'"
        )

    @inlineCallbacks
    def size(self, width: int, height: int) -> Steps:
        """Have the window so large."""
        yield self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    @inlineCallbacks
    def prefer(self, theme: str) -> Steps:
        """What the user's system is: light or dark."""
        yield self.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": theme}],
        )

    @inlineCallbacks
    def click(self, selector: str) -> Steps:
        """Click on the middle of an element, as a mouse does."""
        where = yield self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const r = e.getBoundingClientRect();"
            " return {x: r.x + r.width / 2, y: r.y + r.height / 2} })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            yield self.send(
                "Input.dispatchMouseEvent",
                type=kind,
                button="left",
                clickCount=1,
                **where,
            )

    @inlineCallbacks
    def picture(self) -> Steps:
        """What is to be seen, as PNG."""
        found = yield self.send("Page.captureScreenshot", format="png")
        return b64decode(found["data"])

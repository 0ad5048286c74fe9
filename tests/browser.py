"""
A real headless Chromium, driven over the DevTools protocol.

The protocol runs over two pipes, as JSON messages that each end with a NUL. So no port
is opened, and no websocket client is needed.
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

# The generator type that inlineCallbacks expects.
Steps = Any

# Pipes that Chromium reads and writes with --remote-debugging-pipe.
TO_CHROMIUM, FROM_CHROMIUM = 3, 4

# How often a condition is polled, in seconds.
LOOK_S = 0.05

_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    # The sandbox needs user namespaces or a setuid program, which containers lack. The
    # browser only loads our own pages.
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
    """Chromium rejected a command."""


class Browser(ProcessProtocol):
    """
    The browser process.

    @ivar said: the text that it wrote to standard error.
    @ivar complaints: messages from the pages' consoles and content security policies.
    """

    def __init__(self, home: str) -> None:
        self.said = b""
        # The profile has its own short path instead of one below the test's directory:
        # Chromium puts a socket in it, and a socket's path may have at most 107 octets.
        # It also receives files that Chromium would otherwise leave in /tmp.
        self._directory = home
        self.complaints: list[str] = []
        self.ended: Deferred[None] = Deferred()
        self._octets = bytearray()
        self._number = 0
        self._waiting: dict[int, Deferred[Any]] = {}

    @classmethod
    def start(cls, program: str) -> Browser:
        """Start Chromium."""
        home = tempfile.mkdtemp(prefix="decnet-syslog-browser-")
        browser = cls(home)
        reactor.spawnProcess(
            browser,
            program,
            [program, *_OPTIONS, f"--user-data-dir={home}"],
            # No user settings, no outside connections, nothing left in /tmp.
            env={"PATH": os.environ.get("PATH", ""), "HOME": home, "TMPDIR": home},
            childFDs={0: "w", 1: "r", 2: "r", TO_CHROMIUM: "w", FROM_CHROMIUM: "r"},
        )
        return browser

    def send(self, method: str, session: str = "", **parameters: Any) -> Deferred[Any]:
        """Send a command. Fires with its result."""
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
        """Receive protocol messages, or text on standard error."""
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
        """
        Chromium and all its children have closed their pipes: fail the pending
        commands.
        """
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
        """End Chromium, whether or not it still responds. Fires when it has ended."""
        transport: Any = self.transport
        with suppress(ProcessExitedAlready):
            transport.signalProcess("KILL")
        return self.ended


class Tab:
    """An open page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def send(self, method: str, **parameters: Any) -> Deferred[Any]:
        """Send a command to this tab."""
        return self._browser.send(method, self._session, **parameters)

    @inlineCallbacks
    def evaluate(self, expression: str) -> Steps:
        """
        Evaluate a JavaScript expression and return its value, or a promise's result.

        The debugger evaluates it, so the page's content security policy does not apply.
        """
        answer = yield self.send(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        if "exceptionDetails" in answer:
            raise Refused(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    @inlineCallbacks
    def until(self, expression: str) -> Steps:
        """Wait until an expression is true. The test's own timeout limits the wait."""
        while True:
            try:
                if (yield self.evaluate(expression)):
                    return
            except Refused as error:
                # During a page change there is no context to evaluate in.
                if "context" not in str(error):
                    raise
            yield deferLater(reactor, LOOK_S)

    @inlineCallbacks
    def go(self, url: str) -> Steps:
        """Load a page."""
        yield self.send("Page.navigate", url=url)
        yield self.until(
            f"location.href === {json.dumps(url)} && document.readyState === 'complete'"
        )

    @inlineCallbacks
    def size(self, width: int, height: int) -> Steps:
        """Set the window size."""
        yield self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    @inlineCallbacks
    def prefer(self, theme: str) -> Steps:
        """Emulate the user's colour scheme: light or dark."""
        yield self.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": theme}],
        )

    @inlineCallbacks
    def click(self, selector: str) -> Steps:
        """Click the middle of an element with the mouse."""
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
    def press(self, key: str) -> Steps:
        """Press and release a key: a character, or a name such as Tab or Enter."""
        text = {"Enter": "\r", "Tab": ""}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Tab": 9, "Escape": 27}.get(key, ord(key[0].upper()))
        common = {"key": key, "windowsVirtualKeyCode": code}
        yield self.send(
            "Input.dispatchKeyEvent",
            type="keyDown" if text else "rawKeyDown",
            text=text,
            **common,
        )
        yield self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    @inlineCallbacks
    def type(self, text: str) -> Steps:
        """Type into the focused element."""
        yield self.send("Input.insertText", text=text)

    @inlineCallbacks
    def picture(self) -> Steps:
        """Take a screenshot, as PNG."""
        found = yield self.send("Page.captureScreenshot", format="png")
        return b64decode(found["data"])

"""
Tests for events from the log, the command run for each, and access to the status port.
"""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.monitoring import _eventcommand as commandModule
from decnet_syslog.monitoring._eventcommand import EventCommand, commandLine
from decnet_syslog.monitoring._events import KEPT_OF_KIND, Event, EventLog
from decnet_syslog.monitoring._exposition import Durations, Exposition, Metric
from decnet_syslog.monitoring._port import CONNECTIONS_MAX
from decnet_syslog.monitoring._site import Facts, makeSite
from decnet_syslog.worker.tap import Options as ForwarderOptions


class EventLogTests(SynchronousTestCase):
    """Every log entry with an C{event} field becomes an event."""

    def setUp(self) -> None:
        self.log = Logger()
        self.events = EventLog()
        globalLogPublisher.addObserver(self.events)
        self.addCleanup(globalLogPublisher.removeObserver, self.events)

    def test_factsAreKept(self) -> None:
        """The worker, address and reason are kept, and terminal escapes are removed."""
        self.log.warn(
            "refused {address}: {reason}",
            event="refused",
            address="192.0.2.1:5",
            worker="decky-01",
            reason="it is not on the allow-list\x1b[2J\n" + "x" * 5000,
        )
        self.log.info("nothing to know")
        (found,) = self.events.recent()
        self.assertEqual(
            (found.kind, found.worker, found.address),
            ("refused", "decky-01", "192.0.2.1:5"),
        )
        self.assertIn("refused 192.0.2.1:5: it is not on the allow-list", found.text)
        for text in (found.text, found.reason):
            self.assertNotIn("\x1b", text)
            self.assertNotIn("\n", text)
            self.assertLess(len(text), 600)
        self.assertEqual(dict(self.events.refusals), {"not-allowed": 1})

    def test_boundedByKind(self) -> None:
        """
        Thousands of events of one kind displace no other kind; unknown reasons create
        no new labels.
        """
        self.log.warn("x", event="gap", worker="decky-01")
        for number in range(1000):
            self.log.warn("{reason}", event="refused", reason=f"odd words {number}")
            self.log.warn("x", event=f"made-up-{number}")
        self.assertEqual(
            dict(self.events.counts), {"gap": 1, "refused": 1000, "other": 1000}
        )
        self.assertEqual(dict(self.events.refusals), {"other": 1000})
        recent = self.events.recent(10_000)
        self.assertEqual(len(recent), 2 * KEPT_OF_KIND + 1)
        self.assertIn("gap", [event.kind for event in recent])

    def test_endOfAlarm(self) -> None:
        """The end of an alarm is kept, but not counted."""
        self.log.info("x", event="silent", over=True)
        self.assertEqual(
            (len(self.events.recent()), sum(self.events.counts.values())), (1, 0)
        )


class Processes(Clock):
    """A reactor that records processes instead of starting them."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Any] = []

    def spawnProcess(
        self, protocol: Any, path: str, words: list[str], env: object
    ) -> None:
        """Record a process."""
        transport = ProcessTransport()
        self.started.append(protocol)
        protocol.makeConnection(transport)

    def told(self) -> list[dict[str, Any]]:
        """The input written to each process."""
        return [json.loads(run.transport.value()) for run in self.started]


class ProcessTransport(StringTransport):
    """The pipes of a process."""

    killed = False

    def closeStdin(self) -> None:
        """All input was written."""

    def signalProcess(self, name: str) -> None:
        """The process is killed."""
        self.killed = True


def event(kind: str = "silent", text: str = "x") -> Event:
    """An event."""
    return Event("2026-01-01T00:00:00Z", kind, text, "decky-01", "", "", "")


class CommandTests(SynchronousTestCase):
    """The C{--on-event} option."""

    def setUp(self) -> None:
        self.reactor = Processes()
        self.command = EventCommand(cast(Any, self.reactor), ["/bin/tell"])

    def end(self, index: int = -1) -> None:
        """Let a run end successfully."""
        self.reactor.started[index].processEnded(Failure(ProcessDone(0)))

    def test_eventOnStandardInput(self) -> None:
        """The command receives the event as one line of JSON on standard input."""
        self.command(event(text='"; rm -rf / $(x)'))
        (told,) = self.reactor.told()
        self.assertEqual(
            (told["kind"], told["worker"], told["text"], told["over"]),
            ("silent", "decky-01", '"; rm -rf / $(x)', False),
        )
        self.end()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_runsAreBounded(self) -> None:
        """
        Few commands run at the same time; skipped events are counted and included in
        the next run; events of another kind are still run.
        """
        for _ in range(1000):
            self.command(event("refused"))
        self.command(event("silent"))
        self.assertEqual(len(self.reactor.started), commandModule.RUNNING_MAX)
        for index in range(commandModule.BURST + 1):
            self.end(index)
        kinds = [told["kind"] for told in self.reactor.told()]
        self.assertEqual(kinds, ["refused"] * commandModule.BURST + ["silent"])
        self.reactor.advance(commandModule.REFILL_S)
        self.command(event("refused"))
        self.assertEqual(
            self.reactor.told()[-1]["left_out"], 1000 - commandModule.BURST
        )

    def test_hangingCommand(self) -> None:
        """A command that does not end is killed, so that another one can run."""
        self.command(event())
        (run,) = self.reactor.started
        self.reactor.advance(commandModule.RUN_S)
        self.assertTrue(run.transport.killed)
        run.processEnded(Failure(ProcessTerminated(None, 9)))
        for _ in range(commandModule.RUNNING_MAX):
            self.command(event("gap"))
        self.assertEqual(len(self.reactor.started), 1 + commandModule.RUNNING_MAX)

    def test_commandLine(self) -> None:
        """The program is checked at the start, not at the first event."""
        self.assertEqual(
            commandLine(f"{sys.executable} -c 'a b'"), [sys.executable, "-c", "a b"]
        )


class OptionsTests(SynchronousTestCase):
    """Impossible options are refused with one line, on both ends."""

    def parsed(self, *words: str) -> list[Any]:
        """The status options of both ends."""
        directory = Path(self.mktemp())
        directory.mkdir()
        listener = ListenerOptions()
        listener.parseOptions(
            [f"--log-path={directory}/m.log", f"--json-path={directory}/j", *words]
        )
        forwarder = ForwarderOptions()
        forwarder.parseOptions(
            [
                "--master-host=192.0.2.1",
                f"--agent-dir={directory}",
                f"--log-file={directory}/x.log",
                *words,
            ]
        )
        return [listener.status, forwarder.status]

    def refused(self, *words: str) -> str:
        """The error messages."""
        return str(self.assertRaises(UsageError, self.parsed, *words))

    def test_offByDefault(self) -> None:
        """The status is off by default, and its default address is loopback."""
        for status in self.parsed():
            self.assertEqual((status.port, status.host), (None, "127.0.0.1"))
        for status in self.parsed("--status-port=0", "--status-address=::1"):
            self.assertEqual((status.port, status.host), (0, "::1"))

    def test_loopbackOnly(self) -> None:
        """
        A forwarder's status is limited to loopback, because it has no password. Both
        ends refuse an invalid address.
        """
        for address in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
            said = str(self.assertRaises(UsageError, self.forwarder, address))
            self.assertIn("loopback only", said)
        for address in ("example.org", "", "192.0.2.256", "/run/x"):
            said = self.refused("--status-port=0", f"--status-address={address}")
            self.assertIn("0.0.0.0 for all", said)

    def forwarder(self, address: str) -> None:
        """Options of a forwarder."""
        ForwarderOptions().parseOptions(
            [
                "--master-host=192.0.2.1",
                f"--agent-dir={self.mktemp()}",
                "--log-file=/x.log",
                "--status-port=0",
                f"--status-address={address}",
            ]
        )

    def test_noProgram(self) -> None:
        """A missing command is refused."""
        for words in ("/nowhere/to/be/found", "", "'"):
            self.assertIn("--on-event", self.refused(f"--on-event={words}"))

    def test_extraMissing(self) -> None:
        """
        Without the extra the status port serves everything but C{/metrics}, which answers with
        the command that installs it.
        """
        real = builtins.__import__

        def without(name: str, *rest: Any, **more: Any) -> Any:
            if name.startswith("prometheus_client"):
                raise ImportError(name)
            return real(name, *rest, **more)

        self.patch(builtins, "__import__", without)
        self.assertEqual(len(self.parsed()), 2)
        self.assertEqual(self.parsed("--status-port=0")[0].port, 0)
        exposition = Exposition(lambda: ())
        port = SiteTests()
        port.serve(exposition.render)
        code, body = port.ask("/metrics")
        self.assertEqual(code, 501)
        self.assertIn(
            f"run {sys.prefix}/bin/pip install prometheus-client".encode(), body
        )
        self.assertEqual((body.count(b"\n"), body[-1:]), (1, b"\n"))
        self.assertEqual(port.ask("/metrics", method="HEAD")[0], 501)
        self.assertEqual(port.ask("/status.json")[0], 200)
        self.assertEqual(port.ask("/healthz")[0], 200)


class SiteTests(SynchronousTestCase):
    """The status port."""

    def setUp(self) -> None:
        self.serve(lambda: b"metrics\n")

    def serve(self, metrics: Callable[[], bytes]) -> None:
        """Begin to serve."""
        self.clock = Clock()
        self.gathered = 0
        self.factory = makeSite(
            self.clock,
            Facts(self.gather, self.clock.seconds),
            metrics,
            b"text/plain",
        )
        self.factory.doStart()

    def gather(self) -> dict[str, Any]:
        """Facts that contain a peer's text."""
        self.gathered += 1
        return {"text": "<script>\x1b\u2028\ud800"}

    def ask(
        self, path: str, host: str = "127.0.0.1:5", method: str = "GET"
    ) -> tuple[int, bytes]:
        """
        Send a request on a connection of its own. Returns the status and the body.
        """
        protocol = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 9))
        assert protocol is not None
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(
            f"{method} {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
        )
        self.clock.advance(0)
        head, _, body = transport.value().partition(b"\r\n\r\n")
        protocol.connectionLost(Failure(Exception("closed")))
        self.last = head
        return int(head.split()[1]), body

    def test_pathsAndMethods(self) -> None:
        """Only the existing paths are served, read-only."""
        code, body = self.ask("/status.json")
        self.assertEqual(code, 200)
        self.assertEqual(json.loads(body)["text"], "<script>\x1b\u2028\ud800")
        body.decode("ascii")
        self.assertIn(b"nosniff", self.last)
        self.assertEqual(self.ask("/metrics"), (200, b"metrics\n"))
        self.assertEqual(self.ask("/healthz"), (200, b"ok\n"))
        self.assertEqual(self.ask("/etc/passwd")[0], 404)
        self.assertEqual(self.ask("/status.json", method="POST")[0], 405)

    def test_dnsRebinding(self) -> None:
        """
        A request under another host name, as caused by DNS rebinding, gets no data.
        """
        code, body = self.ask("/status.json", "evil.example")
        self.assertEqual((code, b"script" in body), (403, False))
        self.assertEqual(self.ask("/status.json", "[::1]:5")[0], 200)

    def test_notOftener(self) -> None:
        """Frequent requests get the same cached answer."""
        for _ in range(5):
            self.ask("/status.json")
        self.assertEqual(self.gathered, 1)
        self.clock.advance(1)
        self.ask("/status.json")
        self.assertEqual(self.gathered, 2)

    def test_connectionsAreBounded(self) -> None:
        """The number of connections is bounded, and a silent one is closed."""
        build: Callable[[], Any] = lambda: self.factory.buildProtocol(  # noqa: E731
            IPv4Address("TCP", "127.0.0.1", 9)
        )
        transports = []
        for _ in range(CONNECTIONS_MAX):
            transports.append(StringTransport())
            build().makeConnection(transports[-1])
        self.assertIs(build(), None)
        self.clock.advance(60)
        self.assertTrue(all(t.disconnecting for t in transports))


class ExpositionTests(SynchronousTestCase):
    """The metrics in text format."""

    def test_labelsAndBuckets(self) -> None:
        """Labels are escaped, and buckets are cumulative."""
        durations = Durations()
        for seconds in (0.001, 0.002, 0.3, 60.0):
            durations.add(seconds)
        text = Exposition(
            lambda: [
                Metric("counter", "a", "A.", ("w",), [(('x"\n',), 3)]),
                Metric(
                    "histogram", "d_seconds", "D.", (), [((), durations.asRecord())]
                ),
            ]
        ).render()
        for line in (
            b'a_total{w="x\\"\\n"} 3.0',
            b'd_seconds_bucket{le="0.001"} 1.0',
            b'd_seconds_bucket{le="0.5"} 3.0',
            b'd_seconds_bucket{le="+Inf"} 4.0',
            b"d_seconds_sum 60.303",
        ):
            self.assertIn(line + b"\n", text)

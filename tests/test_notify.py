"""What a service manager is told, and what it hands over."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.master.feeds import Feed
from decnet_syslog.master.outputs import FileOutput
from decnet_syslog.master.rendering import renderRaw
from decnet_syslog.master.service import answers
from decnet_syslog.notify import (
    Notifier,
    ServiceManager,
    adoptedSockets,
    managed,
)

from .doubles import LaterThread, MasterTestCase
from .peers import PairTestCase, requirePeer

SYSTEMD = Path(__file__).parent.parent / "systemd"


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str | bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """Every line since the last call."""
        lines: list[str] = []
        while True:
            try:
                lines += self.socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return lines


class ReactorClock(Clock):
    """A clock with a reactor that runs."""

    def callWhenRunning(self, call: Any) -> None:
        call()


class ManagerTestCase(SynchronousTestCase):
    """With a manager that listens."""

    def setUp(self) -> None:
        # The path of a socket has at most 107 octets: a relative one is short.
        self.path = self.mktemp()
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.path = os.path.relpath(self.path)
        self.manager = Manager(self.path)
        self.addCleanup(self.manager.socket.close)
        self.client = ServiceManager(os.fsencode(self.path))


class ServiceManagerTests(ManagerTestCase):
    """The protocol of sd_notify(3)."""

    def test_path(self) -> None:
        """A datagram of lines reaches a socket that is a file."""
        self.client.say(READY="1", STATUS="serving")
        self.assertEqual(self.manager.heard(), ["READY=1", "STATUS=serving"])

    def test_abstract(self) -> None:
        """A socket in the abstract name space is named with an @."""
        name = f"decnet-syslog-test-{os.getpid()}-{id(self)}"
        manager = Manager(b"\0" + name.encode())
        self.addCleanup(manager.socket.close)
        client = ServiceManager.take({"NOTIFY_SOCKET": "@" + name})
        assert client is not None
        client.say(STOPPING="1")
        self.assertEqual(manager.heard(), ["STOPPING=1"])

    def test_oneLine(self) -> None:
        """Text of a peer in a status cannot say READY or anything else for us."""
        self.client.say(STATUS="x\nREADY=1\x1b[2J\udcff")
        self.assertEqual(self.manager.heard(), ["STATUS=x?READY=1?[2J?"])

    def test_nobody(self) -> None:
        """Without a manager, or with one of another kind, there is nobody to tell."""
        for name in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}):
            self.assertIsNone(ServiceManager.take(dict(name)))

    def test_taken(self) -> None:
        """A child does not find what is ours; another process's watchdog is not ours."""
        environment = {
            "NOTIFY_SOCKET": "/run/x",
            "WATCHDOG_USEC": "30000000",
            "WATCHDOG_PID": str(os.getpid()),
            "HOME": "/",
        }
        other = {**environment, "WATCHDOG_PID": "1"}
        self.assertEqual(
            ServiceManager.take(environment), ServiceManager(b"/run/x", 30.0)
        )
        self.assertEqual(environment, {"HOME": "/"})
        self.assertEqual(ServiceManager.take(other), ServiceManager(b"/run/x", None))

    def test_sockets(self) -> None:
        """Sockets that were opened for another process are not ours."""
        self.assertEqual(adoptedSockets({"LISTEN_FDS": "2", "LISTEN_PID": "1"}), [])
        ours = {"LISTEN_PID": str(os.getpid())}
        self.assertEqual(adoptedSockets({**ours, "LISTEN_FDS": "x"}), [])
        self.assertEqual(adoptedSockets(), [])


class NotifierTests(ManagerTestCase):
    """Ready, status, watchdog, stopping."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = ReactorClock()
        self.asked: list[Deferred[None]] = []
        self.says = "serving"
        self.notifier = Notifier(
            ServiceManager(os.fsencode(self.path), 30.0),
            self.clock,
            self.parts,
            lambda: self.says,
        )

    def parts(self) -> dict[str, Deferred[Any]]:
        self.asked.append(Deferred())
        return {"at once": succeed(None), "later": self.asked[-1]}

    def test_life(self) -> None:
        """Ready once, beats while all answer, and a word at the end; no timer is left."""
        self.notifier.startService()
        self.assertEqual(self.manager.heard(), ["READY=1", "STATUS=serving"])
        for _ in range(3):
            self.asked[-1].callback(None)
            self.assertEqual(self.manager.heard(), ["WATCHDOG=1"])
            self.clock.advance(10)
        self.says = "no space"
        self.clock.advance(10)
        self.assertEqual(self.manager.heard(), ["STATUS=no space"])
        self.notifier.stopService()
        self.assertEqual(self.manager.heard(), ["STOPPING=1", "STATUS=stopping"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noAnswer(self) -> None:
        """A part that does not answer: no beat, however often the clock ticks, and it is
        asked no second time; when it answers, the beats go on."""
        self.notifier.startService()
        self.clock.pump([10] * 6)
        self.assertNotIn("WATCHDOG=1", self.manager.heard())
        self.assertEqual(len(self.asked), 1)
        self.assertEqual(self.notifier.waiting, {"later"})
        self.asked[0].callback(None)
        self.clock.advance(10)
        self.asked[1].callback(None)
        self.assertEqual(self.manager.heard(), ["WATCHDOG=1", "WATCHDOG=1"])

    def test_unwell(self) -> None:
        """A part that fails is no beat, and is asked again."""
        self.notifier.startService()
        self.asked[0].errback(OSError("no such luck"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertNotIn("WATCHDOG=1", self.manager.heard())
        self.clock.advance(10)
        self.asked[1].callback(None)
        self.assertEqual(self.manager.heard(), ["WATCHDOG=1"])

    def test_noWatchdog(self) -> None:
        """Who does not watch is told the status only, and nobody is asked."""
        manager = ServiceManager(os.fsencode(self.path))
        notifier = Notifier(manager, self.clock, self.parts, lambda: self.says)
        notifier.startService()
        self.clock.pump([10] * 3)
        self.assertEqual(self.manager.heard(), ["READY=1", "STATUS=serving"])
        self.assertEqual(self.asked, [])

    def test_managerGone(self) -> None:
        """A manager that does not hear stops nothing."""
        os.unlink(self.path)
        self.notifier.startService()
        self.asked[0].callback(None)
        self.assertTrue(self.clock.getDelayedCalls())

    def test_order(self) -> None:
        """The manager hears that we are ready behind the service's start, and that we stop
        before its stop. Without a manager the service is alone."""
        steps: list[str] = []
        test = self

        class Serving(Service):
            def parts(self) -> dict[str, Deferred[Any]]:
                return {}

            def status(self) -> str:
                return "x"

            def startService(self) -> None:
                steps.extend(["start", *test.manager.heard()])

            def stopService(self) -> None:
                steps.extend([*test.manager.heard(), "stop"])

        alone, serving = Serving(), Serving()
        whole: Any = Service()
        self.assertIs(managed(alone, whole, self.clock, {}), whole)
        name = "@" + f"decnet-syslog-test-{os.getpid()}-{id(self)}"
        self.manager = Manager(b"\0" + name[1:].encode())
        self.addCleanup(self.manager.socket.close)
        both: Any = managed(serving, serving, self.clock, {"NOTIFY_SOCKET": name})
        both.startService()
        steps.extend(self.manager.heard())
        both.stopService()
        self.assertEqual(
            steps,
            ["start", "READY=1", "STATUS=x", "STOPPING=1", "STATUS=stopping", "stop"],
        )


class ProgressTests(MasterTestCase):
    """The listener's beat is the work of its threads."""

    def setUp(self) -> None:
        super().setUp()
        self.path = os.path.relpath(self.directory / "n")
        self.manager = Manager(self.path)
        self.addCleanup(self.manager.socket.close)
        self.journalThread, self.outputThread = LaterThread(), LaterThread()
        self.openListener()

    def openListener(self) -> None:
        """A group commit and a feed, each with a thread that does what it is told to."""
        self.restart()
        self.commits._inThread = self.journalThread
        output = FileOutput(
            "raw", str(self.directory / "out"), renderRaw, lambda *a, **k: None
        )
        output.start(self.journal.useOutputs([output.name])[output.name])
        self.addCleanup(output.close)
        self.feed = Feed(
            output,
            self.journal,
            self.commits,
            self.outputThread,
            self.clock,
            self.failures.append,
        )
        self.feed.start()
        self.run_()
        clock = ReactorClock()
        self.notifier = Notifier(
            ServiceManager(os.fsencode(self.path), 30.0),
            clock,
            lambda: answers(self.commits, [self.feed]),
            lambda: "",
        )
        self.time = clock
        self.notifier.startService()
        self.addCleanup(self.notifier.stopService)

    def run_(self) -> None:
        self.journalThread.run()
        self.outputThread.run()

    def beats(self) -> int:
        return self.manager.heard().count("WATCHDOG=1")

    def test_works(self) -> None:
        """One beat for every time that both threads have answered."""
        for _ in range(3):
            self.run_()
            self.time.advance(10)
        self.assertEqual(self.beats(), 3)

    def test_commitHangs(self) -> None:
        """Commits that do not return: no beat, though the reactor turns."""
        self.run_()
        self.assertEqual(self.beats(), 1)
        for _ in range(10):
            self.time.advance(10)
            self.outputThread.run()
        self.assertEqual(self.beats(), 0)
        self.journalThread.run()
        self.assertEqual(self.beats(), 1)

    def test_outputHangs(self) -> None:
        """An output whose write does not return: no beat, though commits go on."""
        self.run_()
        self.beats()
        for _ in range(10):
            self.time.advance(10)
            self.journalThread.run()
        self.assertEqual(self.beats(), 0)

    def test_full(self) -> None:
        """A full disk is no hang: a restart would make no room."""
        self.run_()
        self.beats()
        self.commits.full = True
        for _ in range(3):
            self.time.advance(10)
            self.run_()
        self.assertEqual(self.beats(), 3)

    def test_outputBlocked(self) -> None:
        """Nor is an output that cannot be written."""
        self.run_()
        self.beats()
        self.feed.blocked = "No space left on device"
        self.time.advance(10)
        self.run_()
        self.assertEqual(self.beats(), 1)


class UnitTests(SynchronousTestCase):
    """The units in systemd/."""

    def test_verified(self) -> None:
        """systemd finds nothing wrong with them."""
        program = requirePeer("systemd-analyze")
        directory = Path(self.mktemp()).resolve()
        shutil.copytree(SYSTEMD, directory)
        units = sorted(str(p) for p in directory.glob("*.s*t")) + sorted(
            str(p) for p in directory.glob("*.service")
        )
        self.assertEqual(len(units), 4)
        for unit in directory.glob("*.service"):
            text = unit.read_text()
            # What it says must be there is there; the package need not be in /opt here.
            command = "/opt/decnet-syslog/bin/twistd"
            self.assertIn(f"ExecStart={command} ", text)
            unit.write_text(text.replace(command, sys.executable))
        done = subprocess.run(
            [program, "verify", "--man=no", *units], capture_output=True, text=True
        )
        said = [
            line
            for line in (done.stdout + done.stderr).splitlines()
            if str(directory) in line or "decnet" in line
        ]
        self.assertEqual((done.returncode, said), (0, []), done)

    def test_exposure(self) -> None:
        """systemd's own measure of what a service could do is not above what docs say."""
        program = requirePeer("systemd-analyze")
        for unit in SYSTEMD.glob("*.service"):
            done = subprocess.run(
                [program, "security", "--offline=true", "--threshold=15", str(unit)],
                capture_output=True,
                text=True,
            )
            self.assertEqual(done.returncode, 0, done.stdout[-200:] + done.stderr)

    def test_options(self) -> None:
        """The units' own options are options, and the rest is taken from the environment."""
        from decnet_syslog.master.tap import Options as Listener
        from decnet_syslog.worker.tap import Options as Forwarder

        for name, options in (("forwarder", Forwarder()), ("listener", Listener())):
            text = (SYSTEMD / f"decnet-{name}.service").read_text()
            given = set(re.findall(r" --([a-z-]+)=/", text))
            self.assertGreaterEqual(len(given), 2)
            self.assertEqual(given - {o.rstrip("=") for o in options.longOpt}, set())


class ProcessTests(PairTestCase):
    """A real listener and a real forwarder under a manager."""

    def manager(self) -> tuple[Manager, dict[str, str]]:
        name = f"decnet-syslog-test-{os.getpid()}-{id(self)}"
        manager = Manager(b"\0" + name.encode())
        self.addCleanup(manager.socket.close)
        # Short, so that a few beats come soon; a machine that is slow beats later.
        return manager, {"NOTIFY_SOCKET": "@" + name, "WATCHDOG_USEC": "600000"}

    def test_told(self) -> None:
        """Both say that they are ready, beat, and say that they stop."""
        pair = self.pair()
        worker = pair.enroll("w1")
        for process in (pair.listener, worker.forwarder):
            manager, environment = self.manager()
            process.environment.update(environment)
            heard: list[str] = []

            def beaten(manager: Manager = manager, heard: list[str] = heard) -> bool:
                heard.extend(manager.heard())
                return heard.count("WATCHDOG=1") >= 3

            process.start()
            self.waitFor(pair, beaten, "no beats")
            self.assertEqual(heard[0], "READY=1")
            self.assertRegex(heard[1], "STATUS=[01] (connection|files)")
            process.signal(signal.SIGHUP)
            self.waitFor(
                pair,
                lambda: (
                    "looking at the files" in worker.forwarder.output()
                    or "reopening" in pair.listener.output()
                ),
                "no answer to SIGHUP",
            )
            process.stop()
            self.assertIn("STOPPING=1", manager.heard())
            manager.socket.close()

    def test_socketActivation(self) -> None:
        """The listener takes the socket that was opened for it, whatever its options say,
        and the connection that has waited in it."""
        program = requirePeer("systemd-socket-activate")
        pair = self.pair()
        worker = pair.enroll("w1")
        process = pair.listener
        process.prefix = [
            program,
            f"--listen={pair.host}:{pair.port}",
            # It passes on little of its own environment.
            "--setenv=PYTHONPATH=" + os.pathsep.join(p for p in sys.path if p),
        ]
        process.arguments = [
            "--host=127.0.0.1" if a.startswith("--host=") else a
            for a in process.arguments
        ]
        worker.append(b"<13>1 - h a - - - it waited\n")
        pair.startListener()
        # Nothing runs behind the socket before the first connection.
        self.assertNotIn("listening on", process.output())
        worker.forwarder.start()
        self.assertEqual(self.waitForLines(pair, 1), [b"<13>1 - h a - - - it waited\n"])
        self.assertIn(f"listening on {pair.host}:{pair.port}", process.output())
        worker.forwarder.stop()
        self.assertEqual(process.stop(), -15)

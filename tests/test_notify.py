"""Tests for the messages to a service manager, and the sockets that it passes on."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.cli import main
from decnet_syslog.master._parts import answers
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
        """Every line since the previous call."""
        lines: list[str] = []
        while True:
            try:
                lines += self.socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return lines


class ReactorClock(Clock):
    """A clock that also acts as a running reactor."""

    def callWhenRunning(self, call: Any) -> None:
        call()


class ManagerTestCase(SynchronousTestCase):
    """Tests with a listening manager."""

    def setUp(self) -> None:
        # A socket's path has at most 107 octets: a relative one is short.
        self.path = self.mktemp()
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.path = os.path.relpath(self.path)
        self.manager = Manager(self.path)
        self.addCleanup(self.manager.socket.close)
        self.client = ServiceManager(os.fsencode(self.path))


class ServiceManagerTests(ManagerTestCase):
    """The protocol of sd_notify(3)."""

    def test_socketPath(self) -> None:
        """Messages reach a socket in the file system, as one datagram of lines."""
        self.client.say(READY="1", STATUS="serving")
        self.assertEqual(self.manager.heard(), ["READY=1", "STATUS=serving"])

    def test_abstractSocket(self) -> None:
        """An @ in the socket's name means the abstract namespace."""
        name = f"decnet-syslog-test-{os.getpid()}-{id(self)}"
        manager = Manager(b"\0" + name.encode())
        self.addCleanup(manager.socket.close)
        client = ServiceManager.take({"NOTIFY_SOCKET": "@" + name})
        assert client is not None
        client.say(STOPPING="1")
        self.assertEqual(manager.heard(), ["STOPPING=1"])

    def test_oneLine(self) -> None:
        """A peer's text in a status cannot add READY or any other variable."""
        self.client.say(STATUS="x\nREADY=1\x1b[2J\udcff")
        self.assertEqual(self.manager.heard(), ["STATUS=x\\nREADY=1\\x1b[2J\\udcff"])

    def test_noManager(self) -> None:
        """
        Without a manager, or with an unsupported kind of socket, there is no client.
        """
        for name in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}):
            self.assertIsNone(ServiceManager.take(dict(name)))

    def test_variablesAreRemoved(self) -> None:
        """
        The variables are removed from the environment of children; a watchdog for
        another process is ignored.
        """
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

    def test_foreignSockets(self) -> None:
        """Sockets that were opened for another process are not adopted."""
        self.assertEqual(adoptedSockets({"LISTEN_FDS": "2", "LISTEN_PID": "1"}), [])
        ours = {"LISTEN_PID": str(os.getpid())}
        self.assertEqual(adoptedSockets({**ours, "LISTEN_FDS": "x"}), [])
        self.assertEqual(adoptedSockets(), [])


class NotifierTests(ManagerTestCase):
    """The states ready, status, watchdog and stopping."""

    def setUp(self) -> None:
        super().setUp()
        self.clock: Any = ReactorClock()
        self.asked: list[Deferred[None]] = []
        self.says = "serving"
        self.notifier = Notifier(
            ServiceManager(os.fsencode(self.path), 30.0),
            cast(Any, self.clock),
            self.parts,
            lambda: self.says,
        )

    def parts(self) -> dict[str, Deferred[Any]]:
        self.asked.append(Deferred())
        return {"at once": succeed(None), "later": self.asked[-1]}

    def test_readyBeatsAndStops(self) -> None:
        """
        The manager is notified of readiness once, of the watchdog as long as every part
        responds, and of the stop; no timer remains.
        """
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
        """
        While a part does not respond, no watchdog message is sent and the part is not
        asked again; when it responds, the messages continue.
        """
        self.notifier.startService()
        self.clock.pump([10] * 6)
        self.assertNotIn("WATCHDOG=1", self.manager.heard())
        self.assertEqual(len(self.asked), 1)
        self.assertEqual(self.notifier.waiting, {"later"})
        self.asked[0].callback(None)
        self.clock.advance(10)
        self.asked[1].callback(None)
        self.assertEqual(self.manager.heard(), ["WATCHDOG=1", "WATCHDOG=1"])

    def test_failedPart(self) -> None:
        """
        When a part fails, no watchdog message is sent, and the part is asked again.
        """
        self.notifier.startService()
        self.asked[0].errback(OSError("no such luck"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertNotIn("WATCHDOG=1", self.manager.heard())
        self.clock.advance(10)
        self.asked[1].callback(None)
        self.assertEqual(self.manager.heard(), ["WATCHDOG=1"])

    def test_noWatchdog(self) -> None:
        """Without a watchdog only the status is sent, and no part is asked."""
        manager = ServiceManager(os.fsencode(self.path))
        notifier = Notifier(manager, self.clock, self.parts, lambda: self.says)
        notifier.startService()
        self.clock.pump([10] * 3)
        self.assertEqual(self.manager.heard(), ["READY=1", "STATUS=serving"])
        self.assertEqual(self.asked, [])

    def test_managerGone(self) -> None:
        """If the manager does not receive messages, nothing stops."""
        os.unlink(self.path)
        self.notifier.startService()
        self.asked[0].callback(None)
        self.assertTrue(self.clock.getDelayedCalls())

    def test_orderOfMessages(self) -> None:
        """
        The manager is notified of readiness after the service has started, and of the
        stop before it stops. Without a manager the service runs by itself.
        """
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
    """The listener's watchdog messages depend on the work of its threads."""

    def setUp(self) -> None:
        super().setUp()
        self.path = os.path.relpath(self.directory / "n")
        self.manager = Manager(self.path)
        self.addCleanup(self.manager.socket.close)
        self.journalThread.isHeld = True
        self.outputThread = LaterThread()
        self.openListener()

    def openListener(self) -> None:
        """A group commit and a feed, each with a thread stepped by the test."""
        self.restart()
        output = self.openOutput(self.directory / "out")
        self.feed = self.makeWriter(output, self.outputThread)
        self.feed.start()
        self.run_()
        clock: Any = ReactorClock()
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

    def test_beatForEachAnswer(self) -> None:
        """One watchdog message is sent each time both threads have responded."""
        for _ in range(3):
            self.run_()
            self.time.advance(10)
        self.assertEqual(self.beats(), 3)

    def test_commitHangs(self) -> None:
        """
        If a commit does not return, no watchdog message is sent, although the reactor
        runs.
        """
        self.run_()
        self.assertEqual(self.beats(), 1)
        for _ in range(10):
            self.time.advance(10)
            self.outputThread.run()
        self.assertEqual(self.beats(), 0)
        self.journalThread.run()
        self.assertEqual(self.beats(), 1)

    def test_outputHangs(self) -> None:
        """
        If a write to an output does not return, no watchdog message is sent, although
        commits continue.
        """
        self.run_()
        self.beats()
        for _ in range(10):
            self.time.advance(10)
            self.journalThread.run()
        self.assertEqual(self.beats(), 0)

    def test_fullJournalIsNoHang(self) -> None:
        """With a full disk, watchdog messages continue: a restart would not help."""
        self.run_()
        self.beats()
        self.commits.backpressure.isFull = True
        for _ in range(3):
            self.time.advance(10)
            self.run_()
        self.assertEqual(self.beats(), 3)

    def test_blockedOutputIsNoHang(self) -> None:
        """With an output that cannot be written, watchdog messages continue."""
        self.run_()
        self.beats()
        self.feed.blocked = "No space left on device"
        self.time.advance(10)
        self.run_()
        self.assertEqual(self.beats(), 1)


class UnitTests(SynchronousTestCase):
    """The units in systemd/."""

    def test_unitsAreValid(self) -> None:
        """C{systemd-analyze verify} accepts the units."""
        program = requirePeer("systemd-analyze")
        directory = Path(self.mktemp()).resolve()
        shutil.copytree(SYSTEMD, directory)
        units = sorted(str(p) for p in directory.glob("*.s*t")) + sorted(
            str(p) for p in directory.glob("*.service")
        )
        self.assertEqual(len(units), 4)
        for unit in directory.glob("*.service"):
            text = unit.read_text()
            # Whatever the units refer to exists, except that the package is not in /opt
            # here.
            command = "/opt/decnet-syslog/bin/decnet-syslog"
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

    def test_exposureAsDocumented(self) -> None:
        """systemd's exposure score for each service is at most the documented one."""
        program = requirePeer("systemd-analyze")
        for unit in SYSTEMD.glob("*.service"):
            done = subprocess.run(
                [program, "security", "--offline=true", "--threshold=15", str(unit)],
                capture_output=True,
                text=True,
            )
            self.assertEqual(done.returncode, 0, done.stdout[-200:] + done.stderr)

    def test_packageKnowsUnits(self) -> None:
        """The Debian package stops every unit when it is removed, and restarts every service."""
        package = SYSTEMD.parent / "packaging/debian"
        for unit in SYSTEMD.glob("*.s*t"):
            self.assertIn(unit.name, (package / "prerm").read_text("utf-8"))
        for unit in SYSTEMD.glob("*.service"):
            self.assertIn(unit.name, (package / "prerm").read_text("utf-8"))
            self.assertIn(unit.name, (package / "postinst").read_text("utf-8"))
        user = (SYSTEMD / "decnet-syslog.sysusers").read_text("utf-8").split("\nu ")[1]
        self.assertIn(
            f"userdel {user.split()[0]}", (package / "postrm").read_text("utf-8")
        )

    def test_filesOfUnits(self) -> None:
        """Each unit reads the configuration file that comes with it, which is accepted."""
        for unit in SYSTEMD.glob("*.service"):
            name = unit.stem.rpartition("-")[2]
            self.assertIn(
                f"/bin/decnet-syslog {name} \\\n    --config=/etc/decnet-syslog/{name}.toml $",
                unit.read_text("utf-8"),
            )
            text = (SYSTEMD / f"{name}.toml").read_text("utf-8")
            # Whatever the operator is to add: the names of masters and servers.
            every = re.sub(r"(?m)^# (?=[a-z-]+ = )", "", text)
            for one in (text, every):
                path = Path(self.mktemp()).with_suffix(f".{name}.toml").resolve()
                path.write_text(one, "utf-8")
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    done = self.assertRaises(
                        SystemExit, main, ["config", "check", str(path)]
                    )
                self.assertEqual(done.code, 0, out.getvalue())
                self.assertIn(f"ok for the {name}", out.getvalue())


class ProcessTests(PairTestCase):
    """A real listener and a real forwarder under a manager."""

    def manager(self) -> tuple[Manager, dict[str, str]]:
        name = f"decnet-syslog-test-{os.getpid()}-{id(self)}"
        manager = Manager(b"\0" + name.encode())
        self.addCleanup(manager.socket.close)
        # A short interval, so that a few messages arrive soon; a slow machine sends
        # them later.
        return manager, {"NOTIFY_SOCKET": "@" + name, "WATCHDOG_USEC": "600000"}

    def test_readyBeatsAndStops(self) -> None:
        """Both services send readiness, watchdog and stop messages."""
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
            self.waitFor(pair, beaten, "no watchdog messages")
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
        """
        The listener takes over the socket that was opened for it, whatever its options,
        with the connection that waited in it.
        """
        program = requirePeer("systemd-socket-activate")
        pair = self.pair()
        worker = pair.enroll("w1")
        process = pair.listener
        process.prefix = [
            program,
            f"--listen={pair.host}:{pair.port}",
            # systemd-socket-activate passes on little of its own environment.
            "--setenv=PYTHONPATH=" + os.pathsep.join(p for p in sys.path if p),
        ]
        process.arguments = [
            "--host=127.0.0.1" if a.startswith("--host=") else a
            for a in process.arguments
        ]
        worker.append(b"<13>1 - h a - - - it waited\n")
        pair.startListener()
        # The service starts with the first connection.
        self.assertNotIn("listening on", process.output())
        worker.forwarder.start()
        self.assertEqual(self.waitForLines(pair, 1), [b"<13>1 - h a - - - it waited\n"])
        self.assertIn(f"listening on {pair.host}:{pair.port}", process.output())
        worker.forwarder.stop()
        self.assertEqual(process.stop(), -15)

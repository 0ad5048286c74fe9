"""Listeners behind a real HAProxy, and two listeners on one port."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
from pathlib import Path

from decnet_syslog.testing import LocalCluster, Process

from ..peers import PairTestCase, example, requirePeer

# The balancer connects from this address, so that it differs from the forwarder's.
BALANCER = "127.99.99.99"


def freePort(host: str) -> int:
    """A free port."""
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class BalancedTests(PairTestCase):
    """
    A forwarder, a listener, and between them HAProxy as configured in the
    documentation.
    """

    def balance(self, pair: LocalCluster, port: int) -> subprocess.Popen[bytes]:
        """Start HAProxy in front of the listener."""
        configuration = self.directory / "haproxy.cfg"
        configuration.write_text(
            example(
                "haproxy.cfg",
                ("bind 192.0.2.1:6514", f"bind {pair.host}:{port}"),
                ("send-proxy-v2", f"source {BALANCER} send-proxy-v2"),
                ("inter 1s", "inter 100ms"),
                ("192.0.2.11:6514", f"{pair.host}:{pair.port}"),
                ("    server two 192.0.2.12:6514\n", ""),
            )
        )
        haproxy = requirePeer("haproxy")
        return self.spawn(haproxy, "-db", "-f", str(configuration))

    def test_balancerIsTransparent(self) -> None:
        """
        Behind HAProxy, records have the forwarder's address, only the balancer may
        connect, a restart of either loses and repeats nothing, and health checks are
        not logged.
        """
        requirePeer("haproxy")
        port = freePort("127.0.0.1")
        pair = self.pair([f"--proxy-protocol={BALANCER}"], port)
        worker = pair.enroll("decky-01")
        pair.startListener()
        balancer = self.balance(pair, port)
        worker.forwarder.start()
        worker.append(b"one\n")
        self.waitForLines(pair, 1)
        pair.listener.stop()
        worker.append(b"two\n")
        pair.startListener()
        self.waitForLines(pair, 2)
        balancer.kill()
        balancer.wait()
        worker.append(b"three\n")
        self.balance(pair, port)
        self.assertEqual(self.waitForLines(pair, 3), [b"one\n", b"two\n", b"three\n"])
        for line in pair.jsonPath.read_bytes().splitlines():
            address = json.loads(line)["source_address"]
            self.assertRegex(address, r"^127\.0\.0\.1:[0-9]+$")
        self.assertNotIn("refused", pair.listener.output())
        with socket.create_connection((pair.host, pair.port)) as direct:
            self.assertEqual(direct.recv(1), b"")
        self.waitFor(
            pair,
            lambda: (
                re.search(
                    r"refused 127\.0\.0\.1:[0-9]+: it is not a balancer",
                    pair.listener.output(),
                )
                is not None
            ),
            "the refused address is not logged",
        )


class SharedPortTests(PairTestCase):
    """Listeners that share a port by C{--reuse-port}."""

    def send(self, pair: LocalCluster, bundle: Path, number: int) -> None:
        """Send one line on a new connection."""
        context = ssl.create_default_context(cafile=str(bundle / "ca.crt"))
        context.check_hostname = False
        context.load_cert_chain(bundle / "worker.crt", bundle / "worker.key")
        with (
            socket.create_connection((pair.host, pair.port)) as plain,
            context.wrap_socket(plain) as secure,
        ):
            line = b"line %04d" % number
            secure.sendall(b"%d %b" % (len(line), line))
            # The listener closes once it has read everything.
            secure.unwrap()

    def test_twoListenersSharePort(self) -> None:
        """
        Two listeners share a port, both get connections, and no connection is lost; a
        third listener without C{--reuse-port} is refused.
        """
        pair = self.pair(["--reuse-port"])
        pair.authority.enroll("w1", self.directory / "w1")
        other = self.directory / "other"
        other.mkdir()
        arguments = [
            "decnet-listener",
            f"--host={pair.host}",
            f"--port={pair.port}",
            f"--ca-dir={pair.caDirectory}",
            f"--log-path={other}/master.log",
            "--json-path=",
        ]
        second = Process([*arguments, "--reuse-port"], other / "listener.out")
        third = Process(arguments, other / "third.out")
        self.addCleanup(second.kill)
        self.addCleanup(third.kill)
        pair.startListener()
        second.start()
        self.waitFor(
            pair,
            lambda: "listening on" in second.output(),
            "the second listener does not listen",
        )
        third.start()
        self.waitFor(
            pair, lambda: not third.alive, "the third listener was not refused"
        )
        self.assertIn("cannot listen", third.output())
        paths = [pair.logPath, other / "master.log"]
        for number in range(24):
            self.send(pair, self.directory / "w1", number)
        self.waitFor(
            pair,
            lambda: sum(p.read_bytes().count(b"\n") for p in paths) == 24,
            "lines are missing",
        )
        lines = [path.read_bytes().splitlines() for path in paths]
        self.assertEqual(
            sorted(lines[0] + lines[1]), [b"line %04d" % n for n in range(24)]
        )
        self.assertTrue(all(lines), lines)

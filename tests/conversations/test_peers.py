"""Tests with real rsyslog and syslog-ng over mutual TLS, in both directions."""

from __future__ import annotations

import json
from pathlib import Path

from decnet_syslog.testing import LocalCluster, LocalWorker

from ..peers import PairTestCase, example, requirePeer

LINES = [
    b'<134>1 2026-04-18T00:00:%02dZ decky04 ssh - auth [relay@55555 src_ip="192.0.2.%d"] n=%d\n'
    % (n % 60, n % 250, n)
    for n in range(500)
]


class RsyslogTests(PairTestCase):
    """rsyslog, from Debian's packages rsyslog and rsyslog-openssl."""

    def rsyslog(self, configuration: str) -> None:
        program = requirePeer("rsyslogd")
        path = self.directory / "rsyslog.conf"
        path.write_text(configuration)
        self.spawn(
            program, "-n", "-f", str(path), "-i", str(self.directory / "rsyslog.pid")
        )

    def sender(self, pair: LocalCluster, worker: LocalWorker, template: str) -> None:
        self.rsyslog(
            example(
                "rsyslog-to-listener.conf",
                ("/var/spool/rsyslog", self.directory),
                ("/etc/decnet-syslog/agent", worker.bundle),
                ("/var/log/decnet/decnet.log", worker.file),
                ("master.example.org", pair.host),
                ("6514", pair.port),
                ('Template="raw"', f'Template="{template}"'),
            )
        )

    def receiver(self, pair: LocalCluster, received: Path) -> None:
        self.rsyslog(
            example(
                "rsyslog-from-forwarder.conf",
                ("/var/spool/rsyslog", self.directory),
                ("/etc/decnet-syslog/ca", pair.caDirectory),
                ("/var/log/decnet-syslog/received.log", received),
                ("0.0.0.0", pair.host),
                ("6514", pair.port),
                ("decky-01", "w1"),
            )
        )

    def test_sendsToListener(self) -> None:
        """rsyslog's lines arrive unchanged, under the name in its certificate."""
        requirePeer("rsyslogd")
        pair = self.pair()
        worker = pair.enroll("relay-7")
        worker.append(b"".join(LINES))
        pair.startListener()
        self.sender(pair, worker, "raw")
        self.assertEqual(self.waitForLines(pair, len(LINES)), LINES)
        records = [json.loads(line) for line in pair.jsonPath.read_bytes().splitlines()]
        self.assertEqual({r["source_worker"] for r in records}, {"relay-7"})
        self.assertEqual(records[7]["attacker_ip"], "192.0.2.7")
        self.assertIn("plain RFC 5425", pair.listener.output())

    def test_sendsItsOwnTemplate(self) -> None:
        """
        rsyslog's own RFC 5424 template ends in LF, which does not cause an empty second
        line.
        """
        requirePeer("rsyslogd")
        pair = self.pair()
        worker = pair.enroll("relay-7")
        worker.append(b"".join([b"one\n", b"two\n"]))
        pair.startListener()
        self.sender(pair, worker, "RSYSLOG_SyslogProtocol23Format")
        lines = self.waitForLines(pair, 2)
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].endswith(b"one\n"), lines)
        self.assertTrue(lines[1].startswith(b"<133>1 "), lines)

    def test_receivesFromForwarder(self) -> None:
        """Our forwarder ships to rsyslog, which checks the name in our certificate."""
        requirePeer("rsyslogd")
        pair = self.pair()
        worker = pair.enroll("w1")
        received = self.directory / "received.log"
        self.receiver(pair, received)
        worker.append(b"".join(LINES))
        worker.forwarder.start()
        self.assertEqual(self.waitForFile(pair, received, len(LINES)), b"".join(LINES))
        self.assertIn("without acknowledgement", worker.forwarder.output())
        # After a restart, the forwarder continues where it stopped.
        self.assertEqual(worker.forwarder.stop(), -15)
        worker.append(b"<13>1 - - - - - - the end\n")
        worker.forwarder.start()
        octets = self.waitForFile(pair, received, len(LINES) + 1)
        self.assertEqual(octets, worker.file.read_bytes())

    def test_ackedRefusesPlainMaster(self) -> None:
        """With --delivery=acked no line is sent to a peer that does not acknowledge."""
        requirePeer("rsyslogd")
        pair = self.pair()
        worker = pair.enroll("w1", ["--delivery=acked"])
        received = self.directory / "received.log"
        self.receiver(pair, received)
        worker.append(LINES[0])
        worker.forwarder.start()
        self.waitFor(
            pair,
            lambda: "nothing is sent" in worker.forwarder.output(),
            "no refusal is logged",
        )
        self.assertFalse(received.exists())


class SyslogNgTests(PairTestCase):
    """syslog-ng, unpacked separately because its package conflicts with rsyslog's."""

    def syslogNg(self, configuration: str) -> None:
        program = requirePeer("syslog-ng")
        path = self.directory / "syslog-ng.conf"
        path.write_text(configuration)
        state = self.directory
        self.spawn(
            program,
            "--foreground",
            "--stderr",
            "--no-caps",
            f"--cfgfile={path}",
            f"--persist-file={state}/persist",
            f"--pidfile={state}/pid",
            f"--control={state}/control",
        )

    def test_sendsToListener(self) -> None:
        """syslog-ng's lines arrive unchanged, under the name in its certificate."""
        requirePeer("syslog-ng")
        pair = self.pair()
        worker = pair.enroll("relay-8")
        worker.append(b"".join(LINES))
        pair.startListener()
        self.syslogNg(
            example(
                "syslog-ng-to-listener.conf",
                ("/etc/decnet-syslog/agent", worker.bundle),
                ("/var/log/decnet/decnet.log", worker.file),
                ("master.example.org", pair.host),
                ("6514", pair.port),
            )
        )
        # syslog-ng adds its own header to each line.
        lines = self.waitForLines(pair, len(LINES))
        ends = [line.endswith(want) for line, want in zip(lines, LINES, strict=True)]
        self.assertTrue(all(ends))
        record = json.loads(pair.jsonPath.read_bytes().splitlines()[0])
        self.assertEqual(record["source_worker"], "relay-8")

    def test_receivesFromForwarder(self) -> None:
        """Our forwarder ships to syslog-ng."""
        requirePeer("syslog-ng")
        pair = self.pair()
        worker = pair.enroll("w1")
        received = self.directory / "received.log"
        self.syslogNg(
            example(
                "syslog-ng-from-forwarder.conf",
                ("/etc/decnet-syslog/ca", pair.caDirectory),
                ("/var/log/decnet-syslog/received.log", received),
                ("0.0.0.0", pair.host),
                ("6514", pair.port),
            )
        )
        worker.append(b"".join(LINES))
        worker.forwarder.start()
        self.assertEqual(self.waitForFile(pair, received, len(LINES)), b"".join(LINES))

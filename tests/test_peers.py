"""With real rsyslog and syslog-ng, over mutual TLS, in both directions."""

from __future__ import annotations

import json
from pathlib import Path

from decnet_syslog.commands.pair import Pair, Worker

from .peers import PairTestCase, requirePeer

LINES = [
    b'<134>1 2026-04-18T00:00:%02dZ decky04 ssh - auth [relay@55555 src_ip="192.0.2.%d"] n=%d\n'
    % (n % 60, n % 250, n)
    for n in range(500)
]


class RsyslogTests(PairTestCase):
    """rsyslog, Debian's packages rsyslog and rsyslog-openssl."""

    def rsyslog(self, configuration: str) -> None:
        program = requirePeer("rsyslogd")
        path = self.directory / "rsyslog.conf"
        path.write_text(configuration)
        self.spawn(
            program, "-n", "-f", str(path), "-i", str(self.directory / "rsyslog.pid")
        )

    def drivers(self, bundle: Path) -> str:
        return f"""
global(workDirectory="{self.directory}" maxMessageSize="64k"
       DefaultNetstreamDriver="ossl"
       DefaultNetstreamDriverCAFile="{bundle}/ca.crt"
       DefaultNetstreamDriverCertFile="{bundle}/worker.crt"
       DefaultNetstreamDriverKeyFile="{bundle}/worker.key")
"""

    def sender(self, pair: Pair, worker: Worker, template: str) -> None:
        self.rsyslog(
            self.drivers(worker.bundle)
            + f"""
module(load="imfile")
template(name="raw" type="string" string="%msg%")
input(type="imfile" File="{worker.file}" Tag="decky" Ruleset="out")
ruleset(name="out") {{
    action(type="omfwd" Target="{pair.host}" Port="{pair.port}" Protocol="tcp"
           TCP_Framing="octet-counted" StreamDriver="ossl" StreamDriverMode="1"
           StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="decnet-master"
           Template="{template}" action.resumeInterval="1" action.resumeRetryCount="-1")
}}
"""
        )

    def test_sendsToListener(self) -> None:
        """rsyslog's lines arrive as they are, under the name of its certificate."""
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
        """rsyslog's own RFC 5424 template ends in LF: that makes no empty second line."""
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
        """Our forwarder ships to rsyslog, which matches our name."""
        requirePeer("rsyslogd")
        pair = self.pair()
        worker = pair.enroll("w1")
        received = self.directory / "received.log"
        self.rsyslog(
            self.drivers(pair.caDirectory / "master")
            + f"""
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1"
       StreamDriver.AuthMode="x509/name" PermittedPeer=["w1"])
template(name="raw" type="string" string="%rawmsg%\\n")
input(type="imtcp" Address="{pair.host}" Port="{pair.port}" Ruleset="in")
ruleset(name="in") {{ action(type="omfile" File="{received}" Template="raw") }}
"""
        )
        worker.append(b"".join(LINES))
        worker.forwarder.start()
        self.assertEqual(self.waitForFile(pair, received, len(LINES)), b"".join(LINES))
        self.assertIn("without acknowledgement", worker.forwarder.output())
        # Stopped and started, it goes on where it was.
        self.assertEqual(worker.forwarder.stop(), -15)
        worker.append(b"<13>1 - - - - - - the end\n")
        worker.forwarder.start()
        octets = self.waitForFile(pair, received, len(LINES) + 1)
        self.assertEqual(octets, worker.file.read_bytes())

    def test_ackedRefusesPlainMaster(self) -> None:
        """With --delivery=acked nothing goes to a peer that does not acknowledge."""
        requirePeer("rsyslogd")
        pair = self.pair()
        worker = pair.enroll("w1", ["--delivery=acked"])
        received = self.directory / "received.log"
        self.rsyslog(
            self.drivers(pair.caDirectory / "master")
            + f"""
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1"
       StreamDriver.AuthMode="x509/name" PermittedPeer=["w1"])
input(type="imtcp" Address="{pair.host}" Port="{pair.port}" Ruleset="in")
ruleset(name="in") {{ action(type="omfile" File="{received}") }}
"""
        )
        worker.append(LINES[0])
        worker.forwarder.start()
        self.waitFor(
            pair,
            lambda: "nothing is sent" in worker.forwarder.output(),
            "no refusal is logged",
        )
        self.assertFalse(received.exists())


class SyslogNgTests(PairTestCase):
    """syslog-ng, unpacked beside rsyslog: their packages conflict."""

    def syslogNg(self, configuration: str) -> None:
        program = requirePeer("syslog-ng")
        path = self.directory / "syslog-ng.conf"
        path.write_text(
            "@version: 3.38\noptions { keep-hostname(yes); };\n" + configuration
        )
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
        """syslog-ng's lines arrive as they are, under the name of its certificate."""
        requirePeer("syslog-ng")
        pair = self.pair()
        worker = pair.enroll("relay-8")
        worker.append(b"".join(LINES))
        pair.startListener()
        self.syslogNg(
            f"""
source s {{ file("{worker.file}" flags(no-parse) follow-freq(0.1) log-msg-size(65536)); }};
destination d {{
    syslog("{pair.host}" port({pair.port}) transport("tls") time-reopen(1)
        tls(ca-file("{worker.bundle}/ca.crt") cert-file("{worker.bundle}/worker.crt")
            key-file("{worker.bundle}/worker.key") peer-verify(required-untrusted)));
}};
log {{ source(s); destination(d); flags(flow-control); }};
"""
        )
        # syslog-ng puts a header of its own before each line.
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
        master = pair.caDirectory / "master"
        self.syslogNg(
            f"""
source s {{
    syslog(ip("{pair.host}") port({pair.port}) transport("tls") flags(no-parse)
        tls(ca-file("{master}/ca.crt") cert-file("{master}/worker.crt")
            key-file("{master}/worker.key") peer-verify(required-trusted)));
}};
destination d {{ file("{received}" template("$MSG\\n")); }};
log {{ source(s); destination(d); }};
"""
        )
        worker.append(b"".join(LINES))
        worker.forwarder.start()
        self.assertEqual(self.waitForFile(pair, received, len(LINES)), b"".join(LINES))

"""
Tests with other projects' senders, with TLS 1.2 and 1.3: every complete message
arrives, and every refusal is logged with its reason and remedy.

docs/neighbours.rst has a row for each sender; a test here compares the two.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from decnet_syslog.testing import LocalCluster, LocalWorker

from ..peers import EXAMPLES, PairTestCase, example, requireModule, requirePeer

VERSIONS = ("1.2", "1.3")

# Few lines, so that the last ones are in transit when the sender closes; with octets
# that are invalid as UTF-8.
LINES = [
    "<14>1 2026-11-28T00:00:00Z h app - - - line %d \u00e9".encode() % number
    for number in range(40)
]

# syslog-pro sends its message unchanged: the caller does the framing. It opens a
# connection for each message.
SYSLOG_PRO = """
const {Syslog} = require(process.argv[1]);
const [, , host, port, bundle, framing] = process.argv;
const sender = new Syslog({
  target: host, port: Number(port), protocol: 'tls',
  tlsClientKey: bundle + '/worker.key', tlsClientCert: bundle + '/worker.crt',
  tlsServerCerts: [bundle + '/ca.crt'],
});
(async () => {
  for (const line of require('fs').readFileSync(0, 'utf8').split('\\n').slice(0, -1)) {
    const counted = Buffer.byteLength(line) + ' ' + line;
    await sender.send(framing === 'counted' ? counted : line + '\\n');
  }
})().catch((error) => { console.log(error); process.exit(1); });
"""

# rfc5424-logging-handler builds the header itself, and never reads.
HANDLER = """
import logging, socket, ssl, sys
host, port, bundle, framing, version = sys.argv[1:]
make = ssl.create_default_context
def limited(*arguments, **named):
    context = make(*arguments, **named)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    return context
ssl.create_default_context = limited
from rfc5424logging import Rfc5424SysLogHandler, transport
handler = Rfc5424SysLogHandler(
    address=(host, int(port)), socktype=socket.SOCK_STREAM,
    framing=getattr(transport, framing), tls_enable=True,
    tls_ca_bundle=bundle + "/ca.crt", tls_client_cert=bundle + "/worker.crt",
    tls_client_key=bundle + "/worker.key")
logger = logging.getLogger("app")
logger.addHandler(handler)
logger.setLevel(logging.INFO)
for line in sys.stdin.read().split("\\n")[:-1]:
    logger.info(line)
handler.close()
"""


def counted(lines: Sequence[bytes]) -> bytes:
    """Lines with octet-counted frames."""
    return b"".join([b"%d %b" % (len(line), line) for line in lines])


def byLineFeed(lines: Sequence[bytes]) -> bytes:
    """Lines that end with line feeds."""
    return b"".join([line + b"\n" for line in lines])


class NeighbourTestCase(PairTestCase):
    """A listener, and a worker's bundle for another program."""

    master: LocalCluster
    worker: LocalWorker

    def listen(self) -> None:
        """Start the listener."""
        self.master = self.pair()
        self.worker = self.master.enroll("relay")
        self.master.startListener()

    def call(self, command: Sequence[str], octets: bytes) -> None:
        """Let a program send octets and end; its exit status does not matter."""
        with open(self.directory / "peer.out", "ab") as out:
            subprocess.run(
                command,
                input=octets,
                stdout=out,
                stderr=out,
                timeout=60,
                check=False,
            )

    def arrived(self, wanted: Sequence[bytes]) -> None:
        """Wait for these lines, each once and in order."""
        got = self.waitForLines(self.master, len(wanted))
        self.assertEqual(got, [line + b"\n" for line in wanted])

    def refused(self, *words: str) -> None:
        """
        Wait for a line with these words in the listener's log, and check that no
        message has arrived.
        """

        def found() -> bool:
            return any(
                all(word in line for word in words)
                for line in self.master.listener.output().splitlines()
            )

        self.waitFor(self.master, found, f"the log has no line with {words}")
        path = self.master.logPath
        self.assertEqual(path.read_bytes() if path.exists() else b"", b"")

    def gnutls(self, *more: str, certificate: bool = True) -> list[str]:
        bundle = self.worker.bundle
        own = [f"--x509certfile={bundle}/worker.crt"] * certificate
        own += [f"--x509keyfile={bundle}/worker.key"] * certificate
        return [
            *(requirePeer("gnutls-cli"), f"--x509cafile={bundle}/ca.crt", *own),
            *("--verify-hostname=decnet-master", *more),
            *(f"--port={self.master.port}", self.master.host),
        ]

    def socat(self, *more: str) -> list[str]:
        bundle = self.worker.bundle
        address = ",".join(
            [
                f"OPENSSL:{self.master.host}:{self.master.port}",
                f"cert={bundle}/worker.crt,key={bundle}/worker.key",
                f"cafile={bundle}/ca.crt,commonname=decnet-master",
                *more,
            ]
        )
        return [requirePeer("socat"), "-u", "-", address]

    def openssl(self, *more: str) -> list[str]:
        bundle = self.worker.bundle
        return [
            *(requirePeer("openssl"), "s_client", "-quiet", "-no_ign_eof"),
            *("-connect", f"{self.master.host}:{self.master.port}"),
            *("-cert", f"{bundle}/worker.crt", "-key", f"{bundle}/worker.key"),
            *("-CAfile", f"{bundle}/ca.crt", "-verify_return_error", *more),
        ]

    def syslogPro(self, version: str, framing: str = "counted") -> list[str]:
        return [
            *(requirePeer("node"), f"--tls-min-v{version}", f"--tls-max-v{version}"),
            *("-e", SYSLOG_PRO, requireModule("syslog-pro"), self.master.host),
            *(str(self.master.port), str(self.worker.bundle), framing),
        ]

    def handler(
        self, version: str, framing: str = "FRAMING_OCTET_COUNTING"
    ) -> list[str]:
        return [
            *(sys.executable, "-c", HANDLER, self.master.host, str(self.master.port)),
            *(str(self.worker.bundle), framing, f"TLSv{version.replace('.', '_')}"),
        ]


class SenderTests(NeighbourTestCase):
    """
    With octet counting, every complete message arrives even if the sender closes
    immediately.
    """

    def test_gnutlsCli(self) -> None:
        """Lines from gnutls-cli arrive."""
        requirePeer("gnutls-cli")
        self.listen()
        for version in VERSIONS:
            command = self.gnutls(f"--priority=NORMAL:-VERS-ALL:+VERS-TLS{version}")
            self.call(command, counted(LINES))
        self.arrived(LINES * len(VERSIONS))

    def test_socatLinesArrive(self) -> None:
        """Lines from socat, which only writes, arrive."""
        requirePeer("socat")
        self.listen()
        for version in VERSIONS:
            limits = [
                f"openssl-{end}-proto-version=TLS{version}" for end in ("min", "max")
            ]
            self.call(self.socat(*limits), counted(LINES))
        self.arrived(LINES * len(VERSIONS))

    def test_opensslClient(self) -> None:
        """Lines from C{openssl s_client} arrive."""
        self.listen()
        for version in VERSIONS:
            command = self.openssl(f"-tls{version.replace('.', '_')}")
            self.call(command, counted(LINES))
        self.arrived(LINES * len(VERSIONS))

    def test_syslogPro(self) -> None:
        """
        Messages from npm's syslog-pro, which opens a connection for each one, arrive.
        """
        requireModule("syslog-pro")
        self.listen()
        for version in VERSIONS:
            self.call(self.syslogPro(version), byLineFeed(LINES))
        self.arrived(LINES * len(VERSIONS))

    def test_loggingHandler(self) -> None:
        """Messages from PyPI's rfc5424-logging-handler, which never reads, arrive."""
        self.listen()
        for version in VERSIONS:
            self.call(self.handler(version), byLineFeed(LINES))
        got = self.waitForLines(self.master, len(VERSIONS) * len(LINES))
        # It adds its own header, and a byte order mark before the text.
        ends = [re.sub(rb".*<14>", b"<14>", line, flags=re.DOTALL) for line in got]
        self.assertEqual(ends, [line + b"\n" for line in LINES * len(VERSIONS)])


class RsyslogTests(NeighbourTestCase):
    """rsyslog with each of its TLS drivers."""

    VERSION = {
        ("ossl", "1.2"): "MinProtocol=TLSv1.2\nMaxProtocol=TLSv1.2",
        ("ossl", "1.3"): "MinProtocol=TLSv1.3\nMaxProtocol=TLSv1.3",
        ("gtls", "1.2"): "NORMAL:-VERS-ALL:+VERS-TLS1.2",
        ("gtls", "1.3"): "NORMAL:-VERS-ALL:+VERS-TLS1.3",
    }

    def send(self, driver: str, version: str, framing: str = "octet-counted") -> None:
        self.worker.append(byLineFeed(LINES))
        text = example(
            "rsyslog-to-listener.conf",
            ("/var/spool/rsyslog", self.directory),
            ("/etc/decnet-syslog/agent", self.worker.bundle),
            ("/var/log/decnet/decnet.log", self.worker.file),
            ("master.example.org", self.master.host),
            ("6514", self.master.port),
            (
                'TCP_Framing="octet-counted"',
                f'TCP_Framing="{framing}"'
                f' gnutlsPriorityString="{self.VERSION[driver, version]}"',
            ),
        ).replace('"ossl"', f'"{driver}"')
        path = self.directory / "rsyslog.conf"
        path.write_text(text)
        pid = self.directory / "rsyslog.pid"
        self.spawn(requirePeer("rsyslogd"), "-n", "-f", str(path), "-i", str(pid))

    def versions(self, driver: str, version: str) -> None:
        requirePeer("rsyslogd")
        modules = sorted(Path("/usr/lib").glob(f"*/rsyslog/lmnsd_{driver}.so"))
        if not modules:
            requirePeer(f"rsyslog-{driver}")
        self.listen()
        self.send(driver, version)
        self.arrived(LINES)

    def test_osslTLS12(self) -> None:
        """rsyslog's OpenSSL driver works with TLS 1.2."""
        self.versions("ossl", "1.2")

    def test_osslTLS13(self) -> None:
        """rsyslog's OpenSSL driver works with TLS 1.3."""
        self.versions("ossl", "1.3")

    def test_gtlsTLS12(self) -> None:
        """rsyslog's GnuTLS driver works with TLS 1.2."""
        self.versions("gtls", "1.2")

    def test_gtlsTLS13(self) -> None:
        """rsyslog's GnuTLS driver works with TLS 1.3."""
        self.versions("gtls", "1.3")

    def test_traditionalFraming(self) -> None:
        """
        rsyslog's default framing by line feed is refused, and the log names the option
        to change.
        """
        requirePeer("rsyslogd")
        self.listen()
        self.send("ossl", "1.3", "traditional")
        self.refused("framing", "frames by line feed", 'TCP_Framing="octet-counted"')


class SyslogNgTests(NeighbourTestCase):
    """syslog-ng."""

    def send(self, version: str, driver: str = "syslog") -> None:
        program = requirePeer("syslog-ng")
        self.worker.append(byLineFeed(LINES))
        older = "no-sslv3,no-tlsv1,no-tlsv11"
        other = f"{older},{'no-tlsv13' if version == '1.2' else 'no-tlsv12'}"
        text = example(
            "syslog-ng-to-listener.conf",
            ("/etc/decnet-syslog/agent", self.worker.bundle),
            ("/var/log/decnet/decnet.log", self.worker.file),
            ('syslog("master.example.org"', f'{driver}("{self.master.host}"'),
            ("6514", self.master.port),
            (
                "peer-verify(required-untrusted)",
                f"peer-verify(required-untrusted) ssl-options({other})",
            ),
        )
        path = self.directory / "syslog-ng.conf"
        path.write_text(text)
        state = self.directory
        self.spawn(
            *(program, "--foreground", "--stderr", "--no-caps", f"--cfgfile={path}"),
            *(f"--persist-file={state}/persist", f"--pidfile={state}/pid"),
            f"--control={state}/control",
        )

    def versions(self, version: str) -> None:
        requirePeer("syslog-ng")
        self.listen()
        self.send(version)
        got = self.waitForLines(self.master, len(LINES))
        ends = [line[line.index(b"<14>") :] for line in got]
        self.assertEqual(ends, [line + b"\n" for line in LINES])

    def test_syslogDriverTLS12(self) -> None:
        """syslog-ng's syslog() driver works with TLS 1.2."""
        self.versions("1.2")

    def test_syslogDriverTLS13(self) -> None:
        """syslog-ng's syslog() driver works with TLS 1.3."""
        self.versions("1.3")

    def test_networkDriver(self) -> None:
        """
        syslog-ng's network() driver, which frames by line feed, is refused, and the log
        names the driver to use.
        """
        requirePeer("syslog-ng")
        self.listen()
        self.send("1.3", "network")
        self.refused("framing", "frames by line feed", "the syslog() driver")


class RefusedTests(NeighbourTestCase):
    """The log distinguishes the refused senders, with a remedy for each."""

    def test_lineFeed(self) -> None:
        """Programs that frame by line feed are refused with the remedy."""
        requirePeer("gnutls-cli")
        requireModule("syslog-pro")
        for command in (
            lambda: self.gnutls(),
            lambda: self.syslogPro("1.3", "lines"),
            lambda: self.handler("1.3", "FRAMING_NON_TRANSPARENT"),
        ):
            self.directory = Path(self.mktemp()).resolve()
            self.directory.mkdir(parents=True)
            self.listen()
            self.call(command(), byLineFeed(LINES))
            self.refused("framing", "frames by line feed", "octet counting")
            self.master.stop()

    def test_otherProtocolsInTLS(self) -> None:
        """
        HTTP inside TLS, and NULs or line feeds between frames, are refused with the
        remedy.
        """
        self.listen()
        for octets, words in (
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ("speaks HTTP", "--status-port")),
            (b"\x002 ok", ("NUL between frames", "switch off the delimiter")),
            (b"\n2 ok", ("a line feed between frames", "switch off the delimiter")),
        ):
            self.call(self.openssl(), octets)
            self.refused("framing", *words)

    def test_failedHandshakes(self) -> None:
        """Each kind of failed handshake has its own log line."""
        for program in ("gnutls-cli", "socat", "logger"):
            requirePeer(program)
        self.listen()
        host, port = self.master.host, str(self.master.port)
        plain = [requirePeer("socat"), "-u", "-", f"TCP:{host}:{port}"]
        old = "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.1"
        rsa = ("-tls1_2", "-cipher", "AES128-SHA:AES256-SHA")
        get = b"GET / HTTP/1.1\r\n\r\n"
        frames = counted(LINES)
        cases: list[tuple[list[str], bytes, tuple[str, ...]]] = [
            (self.gnutls(certificate=False), frames, ("certificate", "enroll it")),
            (self.gnutls(old), frames, ("unsupported protocol", "TLS 1.2 or 1.3")),
            (self.openssl(*rsa), frames, ("no shared cipher", "ECDHE")),
            (plain, get, ("http request", "--status-port")),
            (plain, frames, ("wrong version number", "switch TLS on")),
            (plain, b"", ("Connection lost", "health check")),
            (
                [requirePeer("logger"), "--tcp", "-n", host, "-P", port, "hello"],
                b"",
                ("wrong version number", "switch TLS on"),
            ),
        ]
        for command, octets, words in cases:
            with self.subTest(command=command):
                before = len(self.master.listener.output())
                self.call(command, octets)
                self.refusedSince(before, *words)

    def refusedSince(self, before: int, *words: str) -> None:
        def found() -> bool:
            lines = self.master.listener.output()[before:].splitlines()
            return any(all(word in line for word in words) for line in lines)

        self.waitFor(self.master, found, f"the log has no line with {words}")

    def test_senderDoesNotTrustUs(self) -> None:
        """A sender that does not trust our CA is logged with the remedy."""
        self.listen()
        wrong = str(self.worker.bundle / "worker.crt")
        self.call(self.openssl("-CAfile", wrong), counted(LINES))
        self.refused("refuses our certificate", "unknown ca", "its ca.crt")


class PageTests(PairTestCase):
    """The page docs/neighbours.rst."""

    def test_rowForEachSender(self) -> None:
        """The page has a row for each sender tested here."""
        page = (EXAMPLES.parent / "neighbours.rst").read_text("utf-8")
        for name in (
            *("rsyslog, ossl", "rsyslog, gtls", "syslog-ng", "gnutls-cli", "socat"),
            *("openssl s_client", "syslog-pro", "rfc5424-logging-handler", "logger"),
        ):
            self.assertIn(f"* - {name}", page)

    def test_programsAreRequiredInCI(self) -> None:
        """In CI a missing program is a failure, not a skip."""
        run = (EXAMPLES.parent.parent / ".ci" / "run").read_text("utf-8")
        if os.environ.get("CI"):
            self.assertEqual(os.environ.get("DECNET_SYSLOG_PEERS"), "required")
        for name in ("rsyslog-gnutls", "gnutls-bin", "socat", "npm ci"):
            self.assertIn(name, run)

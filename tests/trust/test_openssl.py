"""
Tests for L{decnet_syslog.trust._openssl}: the listener sends nothing after the
handshake, in any process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.testing import LocalCluster
from decnet_syslog.trust._bundles import Bundle
from decnet_syslog.trust._openssl import CONFIGURATION, TICKETS_SENT, merged

from ..campaigns.siege.papers import Papers
from ..campaigns.siege.peer import TLSPeer, context
from ..peers import PairTestCase

# Imports the listener as twistd does, and prints the process's settings.
SHOW = """
import os
import decnet_syslog.master.tap
from decnet_syslog.trust._openssl import ticketsSent
from OpenSSL import SSL
from OpenSSL._util import lib
made = SSL.Context(SSL.TLS_METHOD)
print(
    ticketsSent(),
    bool(lib.SSL_CTX_get_options(made._context) & SSL.OP_NO_TICKET),
    os.environ.get("OPENSSL_CONF"),
    lib.ERR_peek_error(),
)
"""

OPTION = "Options = -SessionTicket\n"

WHOLE = "openssl_conf = a\n[a]\nssl_conf = b\n[ b ]\nsystem_default = c # d\n[c]\n"


class MergedTests(SynchronousTestCase):
    """An operator's configuration stays in force, with an additional line."""

    def end(self, text: str) -> str | None:
        found = merged("/etc/own.cnf", text)
        if found is None:
            return None
        first, _, rest = found.partition("\n")
        self.assertEqual(first, ".include = /etc/own.cnf")
        return rest

    def test_lineGoesIntoSection(self) -> None:
        """The line is added to the section that the operator's file names."""
        for text in (
            WHOLE,
            WHOLE.replace("= c", "= \\\nc"),
            "# .include x\n" + WHOLE,
            "openssl_conf = z\n" + WHOLE,
            WHOLE + "[default]\nother = 1\n",
            ".include /etc/more.cnf\n" + WHOLE,
        ):
            self.assertEqual(self.end(text), "[c]\nNumTickets = 0\n", text)

    def test_missingSections(self) -> None:
        """Missing sections are added."""
        added = (
            "[decnet_syslog_ssl_conf]\nsystem_default = decnet_syslog_system_default\n"
        )
        end = "[decnet_syslog_system_default]\nNumTickets = 0\n"
        self.assertEqual(
            self.end("openssl_conf = a\n[a]\nproviders = p\n[p]\n"),
            f"[a]\nssl_conf = decnet_syslog_ssl_conf\n{added}{end}",
        )
        self.assertEqual(
            self.end(""),
            "[default]\nopenssl_conf = decnet_syslog_openssl_conf\n"
            "[decnet_syslog_openssl_conf]\nssl_conf = decnet_syslog_ssl_conf\n"
            f"{added}{end}",
        )

    def test_operatorsChoice(self) -> None:
        """
        A file that sets the option itself, or cannot be interpreted safely, is left
        unchanged.
        """
        for text in (
            WHOLE + "NumTickets = 2\n",
            WHOLE + "numtickets = 2\n",
            WHOLE.replace("= b", "= $x"),
            ".include /etc/more.cnf\n",
            "openssl_conf = a\n[a]\n  .include = /etc/more.cnf\n",
        ):
            self.assertIsNone(self.end(text), text)
        self.assertIsNone(merged("/etc/my own.cnf", WHOLE))


class ProcessTests(SynchronousTestCase):
    """The configuration in a new process."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)

    def show(self, own: str | None, before: str = "") -> list[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        environment.pop("OPENSSL_CONF", None)
        if own is not None:
            environment["OPENSSL_CONF"] = own
        said = subprocess.run(
            [sys.executable, "-c", before + SHOW],
            check=True,
            stdout=subprocess.PIPE,
            env=environment,
            timeout=60,
        ).stdout
        return said.decode().split(maxsplit=2)

    def file(self, text: str) -> str:
        path = self.directory / "own.cnf"
        path.write_text(text)
        return str(path)

    def test_noConfiguration(self) -> None:
        """
        Without an operator's configuration no tickets are sent, and no file is named
        afterwards.
        """
        self.assertEqual(self.show(None), ["False", "False", "None 0\n"])

    def test_operatorsConfiguration(self) -> None:
        """
        With an operator's configuration no tickets are sent, and the operator's
        settings apply.
        """
        for text, option in (
            (WHOLE + OPTION, "True"),
            (CONFIGURATION + OPTION, "True"),
            ("openssl_conf = a\n[a]\n", "False"),
        ):
            path = self.file(text)
            self.assertEqual(self.show(path), ["False", option, f"{path} 0\n"], text)

    def test_operatorWantsTickets(self) -> None:
        """An operator who enables tickets gets them."""
        path = self.file(WHOLE + OPTION + "NumTickets = 3\n")
        self.assertEqual(self.show(path), ["True", "True", f"{path} 0\n"])

    def test_unusableConfiguration(self) -> None:
        """A file that OpenSSL treats as missing is handled like no file."""
        for path in ("/nonexistent", "/dev/null"):
            self.assertEqual(self.show(path), ["False", "False", f"{path} 0\n"])

    def test_noMemfd(self) -> None:
        """Without memfd_create the process starts anyway, with tickets."""
        before = "import os\ndef no(*_):\n raise PermissionError(1, 'no')\nos.memfd_create = no\n"
        self.assertEqual(self.show(None, before), ["True", "False", "None 0\n"])

    def test_opensslLoadedEarlier(self) -> None:
        """
        If another module loaded OpenSSL earlier, tickets are sent, and this is
        detected.
        """
        said = self.show(None, "import cryptography.x509\n")
        self.assertEqual(said, ["True", "False", "None 0\n"])


class ListenerTests(PairTestCase):
    """A listener as a process."""

    def listener(self, *twistd: str, before: str = "") -> tuple[LocalCluster, Papers]:
        pair = self.pair()
        pair.listener.arguments = [*twistd, *pair.listener.arguments]
        pair.listener.code = before + pair.listener.code
        # As in the service, whatever the environment of the tests.
        pair.listener.environment["OPENSSL_CONF"] = "/nonexistent"
        worker = pair.enroll("w1")
        bundle = Bundle.load(worker.bundle)
        pair.startListener()
        return pair, Papers(bundle.certificate, bundle.privateKey)

    def behindHandshake(self, pair: LocalCluster, papers: Papers) -> int:
        """Count the octets that the listener sends behind the handshake."""
        made = context(papers, (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION))
        peer = TLSPeer((pair.host, pair.port), "127.0.0.1", made)
        self.addCleanup(peer.socket.close)
        peer.send(b"5 hello")
        # The listener has read them, so its handshake is complete.
        self.waitForLines(pair, 1)
        try:
            return len(peer.socket.recv(65536))
        except BlockingIOError:
            return 0

    def test_nothingAfterHandshake(self) -> None:
        """The listener sends no octet after the handshake."""
        pair, papers = self.listener("--logger=decnet_syslog.logs.text")
        self.assertEqual(self.behindHandshake(pair, papers), 0)
        self.assertNotIn(TICKETS_SENT, pair.listener.output())

    def test_opensslLoadedEarlier(self) -> None:
        """If OpenSSL was loaded earlier, the listener logs the remedy."""
        pair, papers = self.listener(before="import cryptography.x509\n")
        self.assertGreater(self.behindHandshake(pair, papers), 0)
        self.assertIn(TICKETS_SENT, pair.listener.output())

    def test_writeOnly(self) -> None:
        """
        A client that writes, never reads and closes loses nothing, with few lines or
        many, in any TLS version.
        """
        pair, papers = self.listener()
        sent: list[bytes] = []
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            made = context(papers, (version, version))
            for number in range(30):
                peer = TLSPeer((pair.host, pair.port), "127.0.0.1", made)
                for part in range((1, 4, 400)[number % 3]):
                    line = b"<14>1 - h a - - - %d %d %d" % (version, number, part)
                    sent.append(line + b"\n")
                    peer.send(b"%d %b" % (len(line), line))
                    if number % 2:
                        time.sleep(0.0005)
                if number % 5:
                    peer.socket.close()
                else:
                    peer.finish()
        self.assertEqual(sorted(self.waitForLines(pair, len(sent))), sorted(sent))

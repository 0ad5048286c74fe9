"""
rsyslog as one side of a comparison: Debian's, with OpenSSL.

It is configured for its best performance. Alternatives to each of these settings were
tried on the machine that runs the tests, and were slower:

* imfile in inotify mode; the whole file exists before the start, so no time is spent
  polling;
* one queue at each end, in memory (C{FixedArray}), of 10,000 messages, taken 1,024 at a
  time, with one thread, so that order is kept. (With 200,000 messages it exceeds the
  processor's cache and takes twice the CPU time; without a queue omfwd sends one TLS
  record per message and takes ten times as long.)
* no rate limits, no disk queue, no sync of the output: unwritten messages are lost when
  it dies, and so are octets in TCP's buffers;
* the output from a separate thread (C{asyncWriting}), through a buffer of 256 KiB;
* templates that copy: C{%msg%} out, C{%rawmsg%} in. Its JSON consists of the members
  that rsyslog has without extra work (the structured data stays one string, and there
  is no attacker's address): less than our records contain.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from decnet_syslog.errors import UserError
from decnet_syslog.trust import Authority

from .side import Side, ends, nameProcesses

__all__ = ["Relp", "RelpAsShipped", "Rsyslog"]

# The number of connections that its receiver accepts.
SESSIONS_MAX = 20_000

_QUEUE = (
    'queue.type="FixedArray" queue.size="10000" queue.dequeueBatchSize="1024"'
    ' queue.workerThreads="1" queue.timeoutEnqueue="600000"'
)

_JSON = r"""
template(name="json" type="list" option.jsonf="on") {
  property(outname="timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="decky" name="hostname" format="jsonf")
  property(outname="service" name="app-name" format="jsonf")
  property(outname="event_type" name="msgid" format="jsonf")
  property(outname="fields" name="structured-data" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
  property(outname="raw_line" name="rawmsg" format="jsonf")
  property(outname="source_worker" name="fromhost" format="jsonf")
  property(outname="source_address" name="fromhost-ip" format="jsonf")
  property(outname="received_at" name="timegenerated" dateFormat="rfc3339" format="jsonf")
}
"""


class Rsyslog(Side):
    """omfwd to imtcp: RFC 5425 without acknowledgements."""

    name = "rsyslog"

    def __init__(self, directory: Path, json: bool) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        # A separate address, as in Pair: no port is used twice.
        self.host = "127.{}.{}.{}".format(*[random.randint(1, 254) for _ in range(3)])
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port = probe.getsockname()[1]
        self.rawPath = directory / "raw.log"
        self.jsonPath = directory / "raw.json" if json else None
        self.authority = Authority.create(directory / "ca")
        self._master = self.authority.masterIdentity()
        self._senders: dict[str, Sequence[Path]] = {}
        self._receiver: subprocess.Popen[bytes] | None = None
        self._running: list[subprocess.Popen[bytes]] = []

    def addSender(self, name: str, files: Sequence[Path]) -> None:
        """Create a sender's certificate."""
        self.authority.enroll(name, self.directory / name / "agent")
        self._senders[name] = files

    def permit(self, names: Sequence[str]) -> str:
        """Names as a list of RainerScript."""
        return "[" + ",".join(f'"{name}"' for name in names) + "]"

    def globals(self, home: Path, bundle: Path) -> str:
        """The common beginning of all configurations."""
        return f"""
global(workDirectory="{home}" maxMessageSize="64k"
       DefaultNetstreamDriver="ossl"
       DefaultNetstreamDriverCAFile="{bundle}/ca.crt"
       DefaultNetstreamDriverCertFile="{bundle}/worker.crt"
       DefaultNetstreamDriverKeyFile="{bundle}/worker.key")
main_queue({_QUEUE})
"""

    def receiving(self) -> str:
        """The receiver's input."""
        # Any certificate from the CA is accepted: checking names is not timed here.
        return f"""
module(load="imtcp" MaxSessions="{SESSIONS_MAX}" StreamDriver.Name="ossl"
       StreamDriver.Mode="1" StreamDriver.AuthMode="x509/certvalid")
input(type="imtcp" Address="{self.host}" Port="{self.port}" RateLimit.Interval="0"
      Ruleset="in")
"""

    def sending(self, bundle: Path) -> str:
        """The sender's action."""
        return f"""
action(type="omfwd" Target="{self.host}" Port="{self.port}" Protocol="tcp"
       TCP_Framing="octet-counted" StreamDriver="ossl" StreamDriverMode="1"
       StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="decnet-master"
       Template="out" action.resumeInterval="1" action.resumeRetryCount="-1")
"""

    def _writing(self, path: Path, template: str) -> str:
        return (
            f'action(type="omfile" File="{path}" Template="{template}"'
            ' ioBufferSize="256k" asyncWriting="on")'
        )

    def startReceiver(self) -> None:
        """Start the receiver and wait until it listens."""
        home = self.directory / "receiver"
        home.mkdir()
        outputs = self._writing(self.rawPath, "raw")
        if self.jsonPath is not None:
            outputs += "\n" + self._writing(self.jsonPath, "json")
        self._receiver = self._start(
            home,
            self.globals(home, self._master)
            + self.receiving()
            + 'template(name="raw" type="string" string="%rawmsg%\\n")\n'
            + _JSON
            + f'ruleset(name="in") {{\n{outputs}\n}}\n',
        )
        receiver = self._receiver
        self.awaitPort(lambda: receiver.poll() is None)

    def startSenders(self) -> None:
        """Start the senders."""
        for name, files in self._senders.items():
            home = self.directory / name
            bundle = home / "agent"
            inputs = "\n".join(
                f'input(type="imfile" File="{file}" Tag="t" Ruleset="out"'
                ' MaxSubmitAtOnce="1024")'
                for file in files
            )
            self._running.append(
                self._start(
                    home,
                    self.globals(home, bundle)
                    + 'module(load="imfile" mode="inotify")\n'
                    + 'template(name="out" type="string" string="%msg%")\n'
                    + f'ruleset(name="out") {{\n{self.sending(bundle)}\n}}\n'
                    + inputs
                    + "\n",
                )
            )

    def _start(self, home: Path, configuration: str) -> subprocess.Popen[bytes]:
        program = shutil.which("rsyslogd", path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            raise UserError(
                "rsyslogd is not installed:"
                " apt-get install rsyslog rsyslog-openssl rsyslog-relp"
            )
        path = home / "rsyslog.conf"
        path.write_text(configuration)
        with open(home / "rsyslog.out", "ab") as out:
            return subprocess.Popen(
                [program, "-n", "-f", str(path), "-i", str(home / "pid")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=home,
            )

    def pids(self) -> dict[str, int]:
        """The process ids of the receiver and the senders."""
        assert self._receiver is not None
        return nameProcesses(self._receiver.pid, [p.pid for p in self._running])

    def said(self) -> str:
        """The last part of their logs."""
        return ends(sorted(self.directory.glob("*/rsyslog.out")))

    def stop(self) -> None:
        """Kill them: everything is delivered."""
        for process in [*self._running, *filter(None, [self._receiver])]:
            process.kill()
            process.wait()
        self._running = []
        self._receiver = None


class Relp(Rsyslog):
    """omrelp to imrelp over TLS: each message is acknowledged once it is in a queue."""

    name = "rsyslog-relp"
    # The best window. With 2,000 it has half the speed.
    window = 'WindowSize="10000"'

    def receiving(self) -> str:
        """The receiver's input."""
        return f"""
module(load="imrelp" tls.tlslib="openssl")
input(type="imrelp" Address="{self.host}" Port="{self.port}" Ruleset="in"
      MaxDataSize="64k" tls="on" tls.authMode="certvalid"
      tls.caCert="{self._master}/ca.crt" tls.myCert="{self._master}/worker.crt"
      tls.myPrivKey="{self._master}/worker.key")
"""

    def sending(self, bundle: Path) -> str:
        """The sender's action."""
        return f"""
action(type="omrelp" Target="{self.host}" Port="{self.port}" Template="out"
       {self.window} tls="on" tls.authMode="name"
       tls.permittedPeer=["decnet-master"] tls.caCert="{bundle}/ca.crt"
       tls.myCert="{bundle}/worker.crt" tls.myPrivKey="{bundle}/worker.key"
       action.resumeInterval="1" action.resumeRetryCount="-1")
"""

    def globals(self, home: Path, bundle: Path) -> str:
        """As for omfwd, but omrelp takes the TLS library from its module."""
        return (
            super().globals(home, bundle)
            + 'module(load="omrelp" tls.tlslib="openssl")\n'
        )


class RelpAsShipped(Relp):
    """
    RELP with its default window, 128.

    Each window then waits for a delayed TCP acknowledgement.
    """

    name = "rsyslog-relp-as-shipped"
    window = ""

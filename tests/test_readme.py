"""
Tests that run the README's commands as a new user would; two home directories stand for
two machines.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from .peers import requirePeer

ROOT = Path(__file__).parent.parent

# The time limit for a step, in seconds.
PATIENCE_S = 60.0

# Wrappers in place of the installed programs, and an ssh to the other machine, which is
# a directory here.
PROGRAMS = {
    "decnet-syslog": 'exec {python} -c "from decnet_syslog.cli import main; main()" "$@"',
    "ssh": 'shift; export HOME={worker}; cd "$HOME"; exec sh -c "$*"',
}


def block(name: str, page: Path = ROOT / "README.rst") -> str:
    """The commands in the README block with this name."""
    text = page.read_text("utf-8")
    found = re.search(rf"\.\. {name}-commands\n\n::\n\n((?:    .*\n)+)", text)
    assert found is not None, name
    return "".join([line[4:] for line in found[1].splitlines(keepends=True)])


class NewcomerTests(SynchronousTestCase):
    """From an empty machine to lines that arrive."""

    timeout = 240

    def setUp(self) -> None:
        top = Path(self.mktemp()).resolve()
        self.homes = {name: top / name for name in ("master", "worker")}
        for home in self.homes.values():
            home.mkdir(parents=True)
        self.host = "127.{}.{}.{}".format(*[random.randint(1, 254) for _ in range(3)])
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port = probe.getsockname()[1]
        self.programs = top / "bin"
        self.programs.mkdir()
        for name, text in PROGRAMS.items():
            program = self.programs / name
            code = text.format(python=sys.executable, worker=self.homes["worker"])
            program.write_text(f"#!/bin/sh\n{code}\n")
            program.chmod(0o755)

    def type(self, machine: str, name: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Run the commands of a block in a new terminal on a machine."""
        home = self.homes[machine]
        code = block(name).replace("master.example.org", self.host)
        out = home / f"{name}.out"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DECNET_")}
        with open(out, "wb") as file:
            child = subprocess.Popen(
                [requirePeer("bash"), "--norc", "-euo", "pipefail", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=home,
                start_new_session=True,
                env={
                    **kept,
                    "HOME": str(home),
                    "PATH": f"{self.programs}:{os.environ['PATH']}",
                    "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                    "PYTHONUNBUFFERED": "1",
                    # Other listeners run on this machine, so a free port is set: the
                    # only thing prepared for the user.
                    "DECNET_LISTENER_HOST": self.host,
                    "DECNET_SWARM_SYSLOG_PORT": str(self.port),
                },
            )
        self.addCleanup(self.end, child)
        return child, out

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """Close a terminal."""
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def waitFor(self, out: Path, text: str, child: subprocess.Popen[bytes]) -> str:
        """Wait until a terminal shows a text."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in (said := out.read_text("utf-8", "replace")):
            ended = child.poll()
            if ended is not None or time.monotonic() > deadline:
                everything = "".join(
                    f"\n--- {path}\n{path.read_text('utf-8', 'replace')}"
                    for home in self.homes.values()
                    for path in sorted(home.glob("*.out"))
                )
                self.fail(f"no {text!r}; status {ended}:{everything}")
            time.sleep(0.02)
        return said

    def test_commandsWork(self) -> None:
        """Every block does what the README says, without preparation."""
        master, masterOut = self.type("master", "master")
        self.waitFor(masterOut, "listening on", master)
        key = self.homes["worker"] / ".decnet" / "agent" / "worker.key"
        self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        worker, workerOut = self.type("worker", "worker")
        said = self.waitFor(workerOut, "connected to the master", worker)
        self.assertIn("no problem found", said)
        line, lineOut = self.type("worker", "line")
        self.assertEqual((line.wait(PATIENCE_S), lineOut.read_bytes()), (0, b""))
        tail, tailOut = self.type("master", "tail")
        said = self.waitFor(tailOut, "hello", tail)
        # On a slow machine tail starts before the record is there, and says that it waits.
        self.assertRegex(
            said,
            r"\A(?:[^\n]*; waiting for more\n)?[0-9T:-]+ decky-01: shell login hello\n\Z",
        )
        for out in (masterOut, workerOut):
            self.assertNotRegex(out.read_text("utf-8"), r"\bwarn\b")
            self.assertNotIn("Traceback", out.read_text("utf-8"))

    def test_installedPathIsUsed(self) -> None:
        """The install block puts the programs where the other blocks find them."""
        code = block("install")
        self.assertIn("pip install -q .\n", code)
        venv = re.search(r"-m venv (\S+)", code)
        assert venv is not None
        self.assertIn(f"export PATH={venv[1]}/bin:$PATH\n", code)

    def test_quickStart(self) -> None:
        """The documentation's quick start has the same commands as the README."""
        page = (ROOT / "docs" / "quickstart.rst").read_text("utf-8")
        for name in ("install", "master", "worker", "line", "tail"):
            for command in block(name).splitlines():
                self.assertIn(f"    {command}\n", page)

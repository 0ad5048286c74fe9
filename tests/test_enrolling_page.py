"""
Tests that run the commands of docs/enrolling.rst and the Ansible playbook, with
directories as machines.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.trust._bundles import Bundle
from decnet_syslog.trust._names import fingerprint, peerName

from .peers import EXAMPLES, requirePeer
from .test_readme import ROOT, block

PAGE = ROOT / "docs" / "enrolling.rst"

NAMES = ("decky-01", "decky-02")

_PROGRAMS = {
    "decnet-syslog": 'exec {python} -c "from decnet_syslog.cli import main; main()" "$@"',
    # The other machine is a directory here.
    "ssh": 'export HOME={top}/$1; shift; cd "$HOME"; exec sh -c "$*"',
}


class MachinesTestCase(SynchronousTestCase):
    """A master and workers that are directories, with a CA."""

    timeout = 240

    def setUp(self) -> None:
        self.top = Path(self.mktemp()).resolve()
        self.home = self.top / "master"
        for name in ("master", *NAMES):
            (self.top / name).mkdir(parents=True)
        programs = self.top / "bin"
        programs.mkdir()
        for name, text in _PROGRAMS.items():
            program = programs / name
            code = text.format(python=sys.executable, top=self.top)
            program.write_text(f"#!/bin/sh\n{code}\n")
            program.chmod(0o755)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DECNET_")}
        self.environment = {
            **kept,
            "HOME": str(self.home),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        self.run_("decnet-syslog ca init")

    def run_(self, code: str) -> str:
        """Run commands on the master, in its home directory."""
        done = subprocess.run(
            [requirePeer("bash"), "--norc", "-euo", "pipefail", "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.home,
            env=self.environment,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def names(self, *names: str) -> None:
        (self.home / "workers.txt").write_text("".join([f"{n}\n" for n in names]))

    def installed(self, name: str) -> str:
        """The fingerprint of a worker's complete certificate."""
        made = Bundle.load(self.top / name / ".decnet" / "agent").certificate
        self.assertEqual(peerName(made), name)
        return fingerprint(made)


class PageTests(MachinesTestCase):
    """Each block does what the page says."""

    def noKey(self) -> None:
        """Check that no worker's private key is on the master."""
        keys = [p.relative_to(self.home) for p in self.home.rglob("*.key")]
        self.assertEqual(
            sorted(map(str, keys)),
            [".decnet/ca/ca.key", ".decnet/ca/master/worker.key"],
        )

    def test_keysOnWorkers(self) -> None:
        """With requests, keys stay on the workers, also in renewals."""
        self.names(*NAMES)
        self.run_(block("request", PAGE).replace("enroll ", "enroll --days 20 "))
        before = [self.installed(name) for name in NAMES]
        self.noKey()
        listed = self.run_(block("expiring", PAGE))
        self.assertEqual(listed.count("expires "), 2)
        self.run_(block("renew-request", PAGE))
        after = [self.installed(name) for name in NAMES]
        self.assertEqual(len({*before, *after}), 4)
        self.noKey()
        self.assertIn("none expires", self.run_(block("expiring", PAGE)))

    def test_keysFromAuthority(self) -> None:
        """Keys made by the CA are deleted there after delivery, also in renewals."""
        self.names(NAMES[0])
        self.run_(block("list", PAGE).replace("enroll ", "enroll --days 20 "))
        before = self.installed(NAMES[0])
        self.noKey()
        self.run_(block("renew", PAGE))
        self.assertNotEqual(self.installed(NAMES[0]), before)
        self.noKey()

    def test_ansiblePlaybook(self) -> None:
        """The playbook enrolls a worker, and changes nothing when it is repeated."""
        play = requirePeer("ansible-playbook")
        agent = self.top / NAMES[0] / ".decnet" / "agent"
        inventory = self.home / "inventory"
        inventory.write_text(
            "master\n[workers]\n"
            f"{NAMES[0]} decnet_agent_dir={agent}\n"
            "[all:vars]\nansible_connection=local\n"
            f"ansible_python_interpreter={sys.executable}\n"
            f"decnet_program={self.top}/bin/decnet-syslog\n"
            f"decnet_ca_dir={self.home}/.decnet/ca\n"
        )
        # Ansible uses its own Python.
        self.environment.pop("PYTHONPATH")
        program = self.top / "bin" / "decnet-syslog"
        paths = os.pathsep.join(p for p in sys.path if p)
        text = program.read_text().replace("exec ", f"export PYTHONPATH={paths}\nexec ")
        program.write_text(text)
        self.environment |= {"LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}
        playbook = EXAMPLES / "ansible-enroll.yml"
        self.run_(f"{play} -i {inventory} {playbook}")
        made = self.installed(NAMES[0])
        self.noKey()
        said = self.run_(f"{play} -i {inventory} {playbook}")
        self.assertIn("changed=0", said)
        self.assertEqual(self.installed(NAMES[0]), made)

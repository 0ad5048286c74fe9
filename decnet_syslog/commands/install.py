"""decnet-syslog install: put certificates in their place on a worker."""

from __future__ import annotations

from twisted.python import usage

from ..options import Described, directory, fromEnvironment
from ..trust import fingerprint, install, peerName, readParcel, role
from .request import ENVIRONMENT

__all__ = ["Options", "run"]


class Options(Described):
    """Options of install."""

    synopsis = "BUNDLE [options]"
    longdesc = """\
Put a bundle in its place, with the right modes: a directory that "decnet-syslog enroll" made,
its tar file, or - for a tar file on standard input. A running forwarder uses it for its next
connection. A bundle without a key must be for the key on this machine ("decnet-syslog request").
A bundle that does not fit is refused, and the installed one stays. The three files change in one
step: if the command is killed at any moment, it leaves either the old bundle or the new one.

Examples:
    decnet-syslog install ./decky-01
    decnet-syslog install decky-01.tar --agent-dir /etc/decnet-syslog/agent
    tar -C ./decky-01 -c . | ssh decky-01 decnet-syslog install -"""

    optParameters = [
        [
            "agent-dir",
            None,
            None,
            "Directory of the certificates [DECNET_AGENT_DIR, ~/.decnet/agent]",
        ],
        [
            "role",
            None,
            "worker",
            "The role that the bundle must have: worker, or operator",
            role,
        ],
    ]

    def parseArgs(self, bundle: str = "") -> None:
        """The bundle."""
        self["bundle"] = bundle

    def postOptions(self) -> None:
        """Check that a bundle is named."""
        if not self["bundle"]:
            raise usage.UsageError("bundle missing: give install BUNDLE")
        fromEnvironment(self, "agent-dir", ENVIRONMENT, str, "~/.decnet/agent")


def run(options: Options) -> int:
    """Run the command. The exit status."""
    source, where = options["bundle"], directory(options["agent-dir"])
    files = readParcel(source if source == "-" else str(directory(source)))
    done = install(where, files, options["role"])
    name, until = peerName(done.certificate), done.certificate.not_valid_after_utc
    print(f"{name}: {where}" + ("" if done.changed else " (was installed already)"))
    print(fingerprint(done.certificate))
    print(f"valid until {until:%Y-%m-%d}")
    if "worker.key" in files and source != "-":
        print(f"next: remove {source}: the private key is in it")
    return 0

"""decnet-syslog request: a key, and a request for its certificate."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.python import usage

from ..errors import UserError
from ..options import Described, directory, fromEnvironment
from ..trust import (
    REQUEST_KEY,
    REQUEST_OCTETS_MAX,
    checkHolder,
    makeRequest,
    readInput,
    replaceFile,
    requestKey,
)

__all__ = ["ENVIRONMENT", "Options", "run"]

ENVIRONMENT = {"agent-dir": "DECNET_AGENT_DIR"}

_BEGIN = b"-----BEGIN CERTIFICATE REQUEST-----"


class Options(Described):
    """Options of request."""

    synopsis = "NAME [options]"
    longdesc = f"""\
Make a key on this machine, in {REQUEST_KEY} of the bundle's directory, and print a request
for a certificate of NAME. "decnet-syslog enroll NAME --csr FILE" signs it on the master, and
"decnet-syslog install" puts the answer in place here. The key never leaves this machine.
The installed bundle stays in use until then. If you run the command again, it prints a request
for the same key.

Examples:
    decnet-syslog request decky-01 > decky-01.csr
    ssh decky-01 decnet-syslog request decky-01 |
        decnet-syslog enroll decky-01 --csr - --out ./decky-01"""

    optFlags = [
        ["new-key", None, "Make another key; this cancels a request under way"],
    ]

    optParameters = [
        [
            "agent-dir",
            None,
            None,
            "Directory of the certificates [DECNET_AGENT_DIR, ~/.decnet/agent]",
        ],
        ["out", "o", None, "File to write the request to [standard output]"],
    ]

    def parseArgs(self, name: str = "") -> None:
        """The worker's name."""
        self["name"] = name

    def postOptions(self) -> None:
        """Check the name."""
        if not self["name"]:
            raise usage.UsageError("name missing: give request NAME")
        fromEnvironment(self, "agent-dir", ENVIRONMENT, str, "~/.decnet/agent")


def _checkOut(path: Path) -> None:
    """Refuse to overwrite a file that is not a request."""
    if path.exists():
        octets = readInput(str(path), REQUEST_OCTETS_MAX)
        if octets and not octets.startswith(_BEGIN):
            raise UserError(
                f"{path} is not a request, and is not overwritten: choose another file"
            )


def run(options: Options) -> int:
    """Run the command. The exit status."""
    name = options["name"]
    checkHolder(name)
    out = directory(options["out"]) if options["out"] else None
    if out is not None:
        _checkOut(out)
    where = directory(options["agent-dir"])
    made = makeRequest(name, requestKey(where, name, bool(options["new-key"])))
    if out is not None:
        replaceFile(out, made)
        print(f"{name}: {out}")
        print(
            f'next: "decnet-syslog enroll {name} --csr {out.name} --out DIR" on the master, then'
            ' "decnet-syslog install DIR" here'
        )
    else:
        sys.stdout.write(made.decode("ascii"))
    return 0

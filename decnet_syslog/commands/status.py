"""decnet-syslog status: the state of a listener, a forwarder or an output writer, at a glance."""

from __future__ import annotations

import json
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from twisted.python import usage

from ..boundaries import Foreign, JSONObject
from ..errors import UserError
from ..monitoring import SORTS
from ..options import Described, count, directory
from ..trust import MASTER_NAME, Bundle
from .statusselection import FILE_SORTS, Selection, checkSort, checkStates
from .statustext import ROLES, statusText

__all__ = ["Options", "run"]

# The status of ten thousand workers; a longer answer comes from another program.
ANSWER_OCTETS_MAX = 64 * 1024 * 1024

# Longer than a service needs to gather its status, in seconds.
PATIENCE_S = 10.0

# The short forms of a URL.
_PORT = re.compile(r"(?:([\w.-]+|\[[0-9A-Fa-f:]+\]):)?([0-9]{1,5})")

# The interval of --watch, in seconds.
WATCH_S = 2.0


class Options(Described):
    """Options of status."""

    synopsis = "PORT|HOST:PORT|URL [options]"
    longdesc = """\
Show the state of a listener, a forwarder or the output writer of a shared journal that runs
with --status-port. Exit status: 0 all is well, 1 there is a problem, 2 no answer.

A listener's status port on an address other than loopback requires an operator's certificate:
"decnet-syslog enroll NAME --role operator --out DIR".

Examples:
    decnet-syslog status 6515
    decnet-syslog status 6515 --watch --state problem
    decnet-syslog status 6515 --sort lag --limit 10
    decnet-syslog status http://127.0.0.1:6515 --json | jq -r '.problems[].text'
    decnet-syslog status https://master.example.org:6515 --bundle DIR"""

    optFlags = [
        ["json", None, "Print the status as JSON, with the selected workers or files"],
        ["watch", None, "Show it again every two seconds, until interrupted"],
        ["reverse", None, "Reverse the order of --sort"],
    ]

    optParameters = [
        [
            "match",
            None,
            None,
            "Show only workers with this text in their name or at the beginning of their"
            " address; of a forwarder, only files with it in their name",
        ],
        [
            "sort",
            None,
            None,
            f"Sort workers by {', '.join(SORTS)} [state]; a forwarder's files by"
            f" {', '.join(FILE_SORTS)} [lag]",
            checkSort,
        ],
        ["limit", None, None, "Show at most this many workers or files [all]", count],
        ["bundle", None, None, "Directory of the operator's certificates, for https"],
        [
            "master-name",
            None,
            MASTER_NAME,
            "Name or address that the master's certificate must have",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["state"] = []

    def opt_state(self, text: str) -> None:
        """Show only workers in this state; several with commas, or the option again"""
        self["state"] += checkStates(text)

    def parseArgs(self, url: str = "") -> None:
        """The address of the status."""
        if match := _PORT.fullmatch(url):
            scheme = "https" if self["bundle"] else "http"
            url = f"{scheme}://{match[1] or '127.0.0.1'}:{match[2]}"
        if not url.startswith(("http://", "https://")):
            fault = f"{url!r} is not an address" if url else "address missing"
            raise usage.UsageError(
                f"{fault}: give status PORT, the --status-port of a decnet-listener or"
                " decnet-forwarder"
            )
        if url.startswith("https://") != bool(self["bundle"]):
            raise usage.UsageError(
                "https needs --bundle DIR with an operator's certificates, and http must not"
                " have it"
            )
        self["url"] = url.removesuffix("/status.json").rstrip("/") + "/status.json"

    @property
    def selection(self) -> Selection:
        """What to show."""
        return Selection(
            self["state"],
            self["match"] or "",
            self["sort"],
            bool(self["reverse"]),
            self["limit"],
        )


class _MasterContext(ssl.SSLContext):
    """TLS of an operator to the master: checks the master's name, whatever its address."""

    masterName: str

    def wrap_socket(self, *arguments: Foreign, **more: Foreign) -> ssl.SSLSocket:
        """Wrap a socket, with the master's name as the expected one."""
        more["server_hostname"] = self.masterName
        return super().wrap_socket(*arguments, **more)


def _context(home: Path, masterName: str) -> ssl.SSLContext:
    """
    TLS with an operator's certificates.

    @raise UserError: they cannot be used.
    """
    Bundle.load(home)
    context = _MasterContext(ssl.PROTOCOL_TLS_CLIENT)
    context.masterName = masterName
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(home / "ca.crt")
    context.load_cert_chain(home / "worker.crt", home / "worker.key")
    return context


def _fetch(url: str, context: ssl.SSLContext | None) -> JSONObject:
    """
    Fetch the facts.

    @raise OSError: no answer came.
    @raise ValueError: the answer comes from another program.
    """
    # A proxy from the environment must not be used for loopback.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with opener.open(url, timeout=PATIENCE_S) as answer:
        found = json.loads(answer.read(ANSWER_OCTETS_MAX))
    if not isinstance(found, dict) or found.get("role") not in ROLES:
        raise ValueError("it is not a status of decnet-syslog")
    return found


def _advice(reason: object) -> str:
    """The remedy when there is no answer, or none from a decnet-syslog service."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return "check that this is the master of the same CA, and that --master-name is its name"
    if isinstance(reason, ssl.SSLError):
        return (
            "check that the certificate is an operator's (enroll --role operator) and is not"
            " revoked"
        )
    return (
        "check that decnet-listener (or decnet-forwarder, decnet-outputs) is running with this"
        " --status-port"
    )


def _once(options: Options, context: ssl.SSLContext | None) -> int:
    url = options["url"]
    try:
        every = _fetch(url, context)
        facts = options.selection.of(every)
        text = (
            json.dumps(facts, indent=1)
            if options["json"]
            else "\n".join(statusText(facts, every))
        )
    except usage.UsageError as error:
        print(f"decnet-syslog: {error}", file=sys.stderr)
        return 2
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        print(
            f"decnet-syslog: no status from {url}: {reason}; {_advice(reason)}",
            file=sys.stderr,
        )
        return 2
    print(text, flush=True)
    return 0 if facts["ok"] else 1


def run(options: Options) -> int:
    """Run the command. The exit status."""
    context = None
    if options["bundle"]:
        try:
            context = _context(directory(options["bundle"]), options["master-name"])
        except UserError as error:
            print(f"decnet-syslog: {error}", file=sys.stderr)
            return 2
    while options["watch"]:
        # Clear the screen and move to its top.
        print("\x1b[2J\x1b[H", end="")
        _once(options, context)
        time.sleep(WATCH_S)
    return _once(options, context)

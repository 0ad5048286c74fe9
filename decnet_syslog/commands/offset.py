"""decnet-syslog offset: how far DECNET's own forwarder and ours are, for a change between them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from twisted.python import usage

from ..errors import UserError
from ..files import (
    StateStore,
    hasOurState,
    isThere,
    readDecnetOffset,
    writeDecnetOffset,
)
from ..options import Described, directory, fromEnvironment, nearest
from ..untrusted import escapeUntrusted
from .request import ENVIRONMENT

__all__ = ["Options", "run"]

ACTIONS = ("show", "export", "import")


class Options(Described):
    """Options of offset."""

    synopsis = "show|export|import [options]"
    longdesc = """\
Show, or hand over, how far a worker's log is delivered, when DECNET's own forwarder and this one
take turns. Both forwarders must be stopped.

  show     both offsets, and which forwarder is ahead
  export   give DECNET's forwarder our offset, before it is started again
  import   begin at DECNET's offset, after it has shipped further: our older state is set aside.
           Other files continue where the master has them

Examples:
    decnet-syslog offset show --agent-dir /etc/decnet/agent
    decnet-syslog offset export --agent-dir /etc/decnet/agent \\
        --state-db /var/lib/decnet-syslog/forwarder.db"""

    optParameters = [
        [
            "agent-dir",
            None,
            None,
            "Directory of the certificates [DECNET_AGENT_DIR, ~/.decnet/agent]",
        ],
        ["state-db", None, None, "Our state database [forwarder.db in --agent-dir]"],
        [
            "decnet-db",
            None,
            None,
            "DECNET's database [forwarder.db in --agent-dir]",
        ],
        ["log-file", None, None, "The log, if our state has several or none"],
    ]

    def parseArgs(self, action: str = "") -> None:
        """What to do."""
        self["action"] = action

    def postOptions(self) -> None:
        """Check the action, and fill in the defaults."""
        if self["action"] not in ACTIONS:
            raise usage.UsageError(
                f"give one of {', '.join(ACTIONS)} after offset"
                f"{nearest(self['action'], ACTIONS)}"
            )
        fromEnvironment(self, "agent-dir", ENVIRONMENT, str, "~/.decnet/agent")
        for name in ("state-db", "decnet-db"):
            path = self[name]
            self[name] = (
                directory(self["agent-dir"]) / "forwarder.db"
                if path is None
                else directory(path)
            )
            if self[name].is_dir():
                raise usage.UsageError(
                    f"--{name} {self[name]} is a directory: give the path of a file in it"
                )


def _mayLook(path: Path) -> bool:
    """
    Whether there is a database.

    @raise UserError: this user may not look.
    """
    try:
        return isThere(path)
    except OSError as error:
        raise UserError(
            f"cannot look for {path}: {error.strerror}; run this as the forwarder's user"
        ) from None


def _checkLog(
    options: usage.Options, ours: tuple[str, int] | None, theirs: int
) -> None:
    """
    Check that DECNET's offset is one of the log.

    @raise UserError: it is beyond its end.
    """
    named = options["log-file"] or (ours and ours[0])
    if not named:
        print(
            f"not checked whether a log has {theirs} octets: --log-file PATH checks it; if it has"
            " not, the forwarder warns and begins at its start"
        )
        return
    path = directory(named)
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise UserError(
            f"cannot look at {escapeUntrusted(str(path), 300)}: {error.strerror}; give the log with"
            " --log-file"
        ) from None
    if theirs > size:
        raise UserError(
            f"DECNET's offset {theirs} is beyond the end of {escapeUntrusted(str(path), 300)}"
            f" ({size} octets): give its log with --log-file, or start without an import if"
            " the log was rotated since"
        )


def _ours(options: usage.Options) -> tuple[str, int] | None:
    """
    The log that our forwarder follows, and its acknowledged octets, of any master.

    @raise UserError: the forwarder runs, or several logs are followed and none is named.
    """
    path: Path = options["state-db"]
    if not _mayLook(path) or not hasOurState(path):
        return None
    store = StateStore.open(path)
    try:
        reached = store.reached()
    finally:
        store.close()
    wanted = options["log-file"]
    if wanted is not None:
        wanted = str(directory(wanted))
        if wanted not in reached:
            if not reached:
                return None
            raise UserError(
                f"our state has no log {escapeUntrusted(wanted, 200)}: it has"
                f" {escapeUntrusted(', '.join(reached) or 'none', 300)}"
            )
        return wanted, reached[wanted]
    if len(reached) > 1:
        raise UserError(
            f"our state has {len(reached)} logs, DECNET's forwarder one: add --log-file with"
            f" one of {escapeUntrusted(', '.join(reached), 300)}"
        )
    return next(iter(reached.items()), None)


def _beginning(options: usage.Options, theirs: int | None) -> int | None:
    """Where our forwarder begins, which has no state of a log."""
    path: Path = options["state-db"]
    imported = readDecnetOffset(path)
    if imported is None and not (isThere(path) and hasOurState(path)):
        # As at its first start: what the forwarder finds in the bundle's directory.
        bundled = directory(options["agent-dir"]) / "forwarder.db"
        if bundled == options["decnet-db"] and not hasOurState(bundled):
            imported = theirs
    return imported


def _show(
    options: usage.Options, ours: tuple[str, int] | None, theirs: int | None
) -> int:
    name, offset = ours if ours is not None else ("no log yet", None)
    if offset is None:
        offset = _beginning(options, theirs)
        print(
            f"decnet_syslog: {'none (no log yet)' if offset is None else f'begins at {offset}'}"
        )
    else:
        print(f"decnet_syslog: {offset} ({escapeUntrusted(name, 300)})")
    print(f"DECNET:        {'none' if theirs is None else theirs}")
    if offset is None or theirs is None or offset == theirs:
        print("nothing to hand over" if offset == theirs else "only one has an offset")
    elif offset > theirs:
        print(
            f"decnet_syslog is {offset - theirs} octets ahead: export before DECNET runs"
        )
    else:
        print(
            f"DECNET is {theirs - offset} octets ahead: import before decnet_syslog runs"
        )
    return 0


def _export(
    options: usage.Options, ours: tuple[str, int] | None, theirs: int | None
) -> int:
    if ours is None:
        raise UserError(
            f"{options['state-db']} has no state of a decnet_syslog forwarder: nothing to"
            " export. Give --state-db"
        )
    name, offset = ours
    if theirs is not None and theirs > offset:
        raise UserError(
            f"DECNET's offset {theirs} is ahead of ours, {offset}: exporting would make it"
            " send lines again. Use import to go on from there"
        )
    writeDecnetOffset(options["decnet-db"], offset)
    print(f"DECNET's forwarder continues at {offset} of {escapeUntrusted(name, 300)}")
    return 0


def _import(
    options: usage.Options, ours: tuple[str, int] | None, theirs: int | None
) -> int:
    if theirs is None:
        raise UserError(
            f"{options['decnet-db']} has no offset of DECNET's forwarder: nothing to import."
            " Give --decnet-db"
        )
    if ours is not None and ours[1] >= theirs:
        print(f"nothing to do: we are at {ours[1]}, DECNET is at {theirs}")
        return 0
    _checkLog(options, ours, theirs)
    path: Path = options["state-db"]
    fresh = path.with_name(f"{path.name}.importing")
    fresh.unlink(missing_ok=True)
    # Complete and on disk before it takes the place of the old state: if this is killed, the
    # forwarder finds the one or the other.
    old = os.umask(0o077)
    try:
        writeDecnetOffset(fresh, theirs)
    finally:
        os.umask(old)
    _sync(fresh)
    log, index = Path(f"{path}-wal"), Path(f"{path}-shm")
    if log.exists() and log.stat().st_size:
        # A new database must not get the old one's log.
        raise UserError(f"{log} is not empty: stop the forwarder, and try again")
    if path.exists():
        aside = path.with_name(f"{path.name}.before-import-{time.time_ns()}")
        os.link(path, aside)
        print(f"our old state is kept as {aside}")
    os.replace(fresh, path)
    # Left by a reader: the old database is not open, and the log is empty.
    log.unlink(missing_ok=True)
    index.unlink(missing_ok=True)
    _sync(path.parent)
    print(
        f"our forwarder begins at {theirs}; what DECNET has shipped is not sent again"
    )
    return 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def run(options: Options) -> int:
    """Run the command. The exit status."""
    ours = _ours(options)
    theirs = readDecnetOffset(options["decnet-db"])
    if options["action"] == "show":
        return _show(options, ours, theirs)
    if options["action"] == "export":
        return _export(options, ours, theirs)
    return _import(options, ours, theirs)

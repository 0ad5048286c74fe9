"""What is looked at on a worker, and what on a master, in the order in which it is needed."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import FILES_MAX, openLog
from ..options import directory
from ..trust.bundles import Bundle
from ..trust.contexts import forwarderContext
from .identity import checkAuthority, checkBundle, refusedAsMaster, refusedAsWorker
from .journal import checkJournalSpace
from .logrotate import checkForwarded, checkOutput, readRotations
from .machine import (
    checkClock,
    checkDatabase,
    checkDescriptors,
    checkDirectory,
    checkSpace,
    checkUser,
    isFlocked,
    portIsTaken,
)
from .probe import askMaster
from .report import Report

__all__ = ["examineForwarder", "examineListener"]

# A worker's state: bookmarks, and copies of deleted logs that are not shipped yet.
STATE_OCTETS_MIN = 16 * 1024 * 1024

# Beside its connections a listener has files open.
DESCRIPTORS_KEPT = 48

Ask = Callable[..., None]


def examineForwarder(
    report: Report, options: Any, rotations: Sequence[str], ask: Ask = askMaster
) -> None:
    """
    Look at a worker.

    @param options: L{decnet_syslog.worker.tap.Options}, filled in.
    @param rotations: configurations of logrotate.
    """
    checkUser(report)
    bundle = checkBundle(report, directory(options["agent-dir"]), refusedAsWorker)
    checkClock(report)
    state = Path(os.path.abspath(options["state-db"]))
    if checkDirectory(report, "state", state.parent, True):
        checkDatabase(report, "offsets", state)
        lag = options["max-lag-bytes"]
        checkSpace(report, state.parent, STATE_OCTETS_MIN, lag)
    known = readRotations(report, rotations)
    for pattern in options.logFiles:
        _checkLog(report, pattern)
        checkForwarded(report, known, pattern, options.rotated)
    if bundle is not None:
        for host, port in options.masters:
            _ask(
                report,
                bundle,
                host,
                port,
                options["master-name"],
                options["delivery"],
                options["max-message"],
                ask,
            )


def _ask(
    report: Report,
    bundle: Bundle,
    host: str,
    port: int,
    masterName: str,
    delivery: str,
    messageOctetsMax: int,
    ask: Ask,
) -> None:
    try:
        context = forwarderContext(bundle, masterName, delivery != "plain")
    except UserError as error:
        report.fail("TLS", str(error), "make the bundle anew")
        return
    ask(report, host, port, context, masterName, delivery, messageOctetsMax)


def _checkLog(report: Report, pattern: str) -> None:
    """Whether what is to be shipped can be read."""
    check = f"log {pattern}"
    if not checkDirectory(
        report, f"directory of {pattern}", Path(pattern).parent, False
    ):
        return
    paths = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
    paths = [path for path in paths if os.path.lexists(path)]
    if not paths:
        report.note(
            check,
            "it is not there yet",
            "well, if its program has not started; else correct --log-file",
        )
        return
    if len(paths) > FILES_MAX:
        report.fail(
            check,
            f"{len(paths)} files, and one forwarder follows {FILES_MAX}",
            "give a narrower pattern, or run a second forwarder with a --state-db of its own",
        )
        return
    for path in paths:
        _readable(report, check, path)


def _readable(report: Report, check: str, path: str) -> None:
    try:
        descriptor = openLog(path, True)
    except OSError as error:
        report.fail(
            check,
            f"{path} cannot be read: {error.strerror}",
            "add the service's user to the group of the file (SupplementaryGroups= in the"
            " unit), and have logrotate create it with that group",
        )
        return
    if descriptor is None:
        report.fail(
            check, f"{path} is no regular file", "a pipe or a directory is not followed"
        )
        return
    size = os.fstat(descriptor).st_size
    os.close(descriptor)
    report.ok(check, f"{path}, {size} octets")


def examineListener(
    report: Report,
    options: Any,
    rotations: Sequence[str],
    asWorker: str | None,
    ask: Ask = askMaster,
) -> None:
    """
    Look at a master.

    @param options: L{decnet_syslog.master.tap.Options}, filled in.
    @param rotations: configurations of logrotate.
    @param asWorker: a worker's bundle to connect with.
    """
    checkUser(report)
    authority = directory(options["ca-dir"])
    checkBundle(report, authority / "master", refusedAsMaster)
    checkAuthority(report, authority)
    checkClock(report)
    # In NATS: then no lock shows which listener serves.
    shared = "://" in options["journal"]
    journal = Path(os.path.abspath(options["journal"]))
    if shared:
        report.note(
            "journal",
            f"{options['journal']}: not looked at",
            f"nats stream info {options['journal-name']} shows it",
        )
    elif checkDirectory(report, "journal's directory", journal.parent, True):
        checkDatabase(report, "journal", journal)
        checkJournalSpace(report, journal, options["journal-max"])
    known = readRotations(report, rotations)
    for path in options.paths["log"] + options.paths["json"]:
        _checkOutput(report, path)
        checkOutput(report, known, path)
    checkDescriptors(report, options["max-connections"] + DESCRIPTORS_KEPT)
    serves = _checkPort(report, options, None if shared else journal)
    if asWorker is None:
        report.note(
            "round trip",
            "not tried: it takes a worker's bundle",
            "give one with --as-worker DIR, or run decnet-syslog doctor forwarder on a worker",
        )
    elif options.proxies:
        report.note(
            "round trip",
            "not tried: with --proxy-protocol only balancers may connect",
            "run decnet-syslog doctor forwarder with --master-host of the balancer",
        )
    elif serves:
        _askOurselves(report, options, asWorker, ask)


def _checkOutput(report: Report, path: str) -> None:
    check = f"output {path}"
    if not checkDirectory(report, f"directory of {path}", Path(path).parent, True):
        return
    if "{worker}" in path or not os.path.lexists(path):
        report.ok(check, "will be made")
    elif not os.path.isfile(path) or os.path.islink(path):
        report.fail(
            check, "no regular file is there", "remove it, or choose another path"
        )
    elif not os.access(path, os.W_OK):
        report.fail(
            check,
            f"it cannot be written by uid {os.geteuid()}",
            "chown it; and have logrotate create it for the service's user",
        )
    else:
        report.ok(check, f"{os.path.getsize(path)} octets")


def _checkPort(report: Report, options: Any, journal: Path | None) -> bool:
    """Whether a listener serves."""
    host, port = options["host"], options["port"]
    taken = portIsTaken(report, host, port)
    if taken is None:
        return False
    runs = taken
    if journal is not None:
        runs = isFlocked(journal.with_name(journal.name + ".lock"))
    if taken and runs:
        report.ok("port", f"{host} port {port}: a listener serves")
    elif taken and options["reuse-port"]:
        report.note(
            "port",
            f"{host} port {port} is taken, and not by a listener with this journal",
            "well, if that is another listener of the same user with --reuse-port: ss -ltnp"
            f" 'sport = :{port}' says who it is",
        )
    elif taken:
        report.fail(
            "port",
            f"{host} port {port} is taken, and not by a listener with this journal",
            f"ss -ltnp 'sport = :{port}' says by whom: stop it, or choose another --port"
            " (decnet-listener.socket may hold it for a listener that is to come)",
        )
    elif runs:
        report.fail(
            "port",
            f"a listener has the journal, and nobody listens on {host} port {port}",
            "it was started with other options: give these the same --host and --port; two"
            " listeners cannot have one journal",
        )
    else:
        report.note(
            "port",
            f"{host} port {port} is free: no listener runs",
            "start it: systemctl start decnet-listener",
        )
    return taken and runs


def _askOurselves(report: Report, options: Any, asWorker: str, ask: Ask) -> None:
    bundle = checkBundle(report, directory(asWorker), refusedAsWorker)
    if bundle is None:
        return
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options["host"], options["host"])
    _ask(
        report,
        bundle,
        host,
        options["port"],
        "decnet-master",
        "acked",
        options["max-message"],
        ask,
    )

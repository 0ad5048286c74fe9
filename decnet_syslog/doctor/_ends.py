"""The checks of a worker and of a master, each in the order in which the service needs them."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import openLog
from ..openfiles import LISTENER_DESCRIPTORS
from ..options import directory
from ..trust import Bundle, forwarderContext
from ._identity import checkAuthority, checkBundle, refusedAsMaster, refusedAsWorker
from ._journal import checkJournalSpace
from ._logrotate import checkForwarded, checkOutput
from ._machine import (
    checkClock,
    checkDatabase,
    checkDescriptors,
    checkDirectory,
    checkSpace,
    checkUser,
    isFlocked,
    portIsTaken,
)
from ._probe import askMaster
from ._report import DoctorReport
from ._rotations import readRotations

if TYPE_CHECKING:
    from ..master.tap import Options as ListenerOptions
    from ..worker.tap import Options as ForwarderOptions

__all__ = ["examineForwarder", "examineListener"]

# A worker's state: offsets, and copies of deleted logs whose lines are not sent yet.
STATE_OCTETS_MIN = 16 * 1024 * 1024

Ask = Callable[..., None]


def examineForwarder(
    report: DoctorReport,
    options: ForwarderOptions,
    rotations: Sequence[str],
    ask: Ask = askMaster,
) -> None:
    """
    Check a worker.

    @param options: L{decnet_syslog.worker._options.Options}, filled in.
    @param rotations: logrotate configurations.
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
        _checkLog(report, pattern, options["max-files"])
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
    report: DoctorReport,
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
        report.fail("TLS", str(error), "make the worker's certificates again")
        return
    ask(report, host, port, context, masterName, delivery, messageOctetsMax)


def _checkLog(report: DoctorReport, pattern: str, filesMax: int) -> None:
    """Whether the log files to follow can be read."""
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
            "it does not exist yet",
            "fine if its program has not started; otherwise correct --log-file",
        )
        return
    if len(paths) > filesMax:
        report.fail(
            check,
            f"{len(paths)} files, but --max-files is {filesMax}: the others are not followed",
            "raise --max-files, give a narrower pattern, or run a second forwarder with its own"
            " --state-db",
        )
        return
    for path in paths:
        _readable(report, check, path)


def _readable(report: DoctorReport, check: str, path: str) -> None:
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
            check,
            f"{path} is not a regular file",
            "give the path of a file: pipes and directories are not followed",
        )
        return
    size = os.fstat(descriptor).st_size
    os.close(descriptor)
    report.ok(check, f"{path}, {size} octets")


def examineListener(
    report: DoctorReport,
    options: ListenerOptions,
    rotations: Sequence[str],
    asWorker: str | None,
    ask: Ask = askMaster,
) -> None:
    """
    Check a master.

    @param options: L{decnet_syslog.master._options.Options}, filled in.
    @param rotations: logrotate configurations.
    @param asWorker: directory of a worker's certificates, to connect with.
    """
    checkUser(report)
    authority = directory(options["ca-dir"])
    checkBundle(report, authority / "master", refusedAsMaster)
    checkAuthority(report, authority)
    checkClock(report)
    # The journal is in NATS: then no lock shows which listener runs.
    shared = "://" in options["journal"]
    journal = Path(os.path.abspath(options["journal"]))
    if shared:
        report.note(
            "journal",
            f"{options['journal']}: not checked",
            f"check it with: nats stream info {options['journal-name']}",
        )
    elif checkDirectory(report, "journal's directory", journal.parent, True):
        checkDatabase(report, "journal", journal)
        checkJournalSpace(report, journal, options["journal-max"])
    known = readRotations(report, rotations)
    for path in options.allPaths:
        _checkOutput(report, path)
        checkOutput(report, known, path)
    checkDescriptors(report, options["max-connections"] + LISTENER_DESCRIPTORS)
    serves = _checkPort(report, options, None if shared else journal)
    if asWorker is None:
        report.note(
            "round trip",
            "not tried: it needs a worker's certificates",
            "give them with --as-worker DIR, or run decnet-syslog doctor forwarder on a worker",
        )
    elif options.proxies:
        report.note(
            "round trip",
            "not tried: with --proxy-protocol only balancers may connect",
            "run decnet-syslog doctor forwarder with the balancer as --master-host",
        )
    elif serves:
        _askOurselves(report, options, asWorker, ask)


def _checkOutput(report: DoctorReport, path: str) -> None:
    check = f"output {path}"
    if not checkDirectory(report, f"directory of {path}", Path(path).parent, True):
        return
    if "{worker}" in path or not os.path.lexists(path):
        report.ok(check, "will be created")
    elif not os.path.isfile(path) or os.path.islink(path):
        report.fail(
            check, "it is not a regular file", "remove it, or choose another path"
        )
    elif not os.access(path, os.W_OK):
        report.fail(
            check,
            f"it cannot be written by uid {os.geteuid()}",
            "chown it, and have logrotate create it for the service's user",
        )
    else:
        report.ok(check, f"{os.path.getsize(path)} octets")


def _checkPort(
    report: DoctorReport, options: ListenerOptions, journal: Path | None
) -> bool:
    """Whether a listener is running."""
    host, port = options["host"], options["port"]
    taken = portIsTaken(report, host, port)
    if taken is None:
        return False
    runs = taken
    if journal is not None:
        runs = isFlocked(journal.with_name(journal.name + ".lock"))
    if taken and runs:
        report.ok("port", f"{host} port {port}: a listener is running")
    elif taken and options["reuse-port"]:
        report.note(
            "port",
            f"{host} port {port} is taken, but not by a listener with this journal",
            "fine if it is another listener of the same user with --reuse-port: find it with"
            f" ss -ltnp 'sport = :{port}'",
        )
    elif taken:
        report.fail(
            "port",
            f"{host} port {port} is taken, but not by a listener with this journal",
            f"find its process with ss -ltnp 'sport = :{port}': stop it, or choose another"
            " --port (decnet-syslog-listener.socket may hold it for a listener that is not"
            " started yet)",
        )
    elif runs:
        report.fail(
            "port",
            f"a listener uses the journal, but nothing listens on {host} port {port}",
            "that listener was started with other options: give the same --host and --port here;"
            " two listeners cannot share a journal",
        )
    else:
        report.note(
            "port",
            f"{host} port {port} is free: no listener is running",
            "start it: systemctl start decnet-syslog-listener",
        )
    return taken and runs


def _askOurselves(
    report: DoctorReport, options: ListenerOptions, asWorker: str, ask: Ask
) -> None:
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

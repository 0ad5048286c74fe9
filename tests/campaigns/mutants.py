"""
Handmade mistakes: the suite must find each of them through a failing assertion.

A mutant replaces functions by others with the same signature, so the suite finds the
mistake itself and not a call that does not fit. Most mutants are the function's own
source with an edit; the edited text must exist. Each mutant is hunted by a test of the
suite: either the histories of L{tests.campaigns.pipeline}, or a single case. A mutant counts as
found only when an assertion of the hunt fails, not when any other exception is raised.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import mock

from decnet_syslog import database, signals
from decnet_syslog.files import _reconcile, _rules
from decnet_syslog.files._follower import FileFollower
from decnet_syslog.files._journals import JournalPositions
from decnet_syslog.files._reader import ContentFile
from decnet_syslog.journal._batches import BatchTable
from decnet_syslog.journal._segmentfile import SegmentFile
from decnet_syslog.journal._segments import Segments
from decnet_syslog.journal._streams import StoredStreams
from decnet_syslog.outputs._appended import AppendedFile
from decnet_syslog.outputs._deleted import Sizes
from decnet_syslog.outputs._file import OutputFile
from decnet_syslog.outputs._fileoutput import FileOutput
from decnet_syslog.outputs._search import EarlierFile
from decnet_syslog.receiving._acked import AckedSession
from decnet_syslog.receiving._listener import ListenerProtocol
from decnet_syslog.sending._acked import AckedSender
from decnet_syslog.trust import _replacement as replacement
from decnet_syslog.trust import _revocation as revocation
from decnet_syslog.trust._inforce import InForce
from decnet_syslog.trust._revocation import Revocations
from decnet_syslog.wire import ACK, RESUME

__all__ = ["HISTORIES", "MUTANTS", "NO_ROSTER", "Mutant", "Replacement"]

# Hunts that run histories of the pipeline: the normal ones, and ones in which no roster
# closes an old connection, so that its octets reach the journal after the new
# connection's grant.
HISTORIES = "histories"
NO_ROSTER = "histories without a roster"


@dataclass(frozen=True)
class Replacement:
    """
    A replacement for one function.

    @ivar owner: the class or the module that has the function.
    """

    owner: type | ModuleType
    attribute: str
    function: Callable[..., Any]

    @property
    def original(self) -> Callable[..., Any]:
        """What it replaces, as a plain function."""
        found = inspect.getattr_static(self.owner, self.attribute)
        function: Callable[..., Any] = getattr(found, "__func__", found)
        return function

    def check(self) -> None:
        """
        See that it can be called like the original.

        @raise AssertionError: it cannot.
        """
        wanted, given = map(_parameters, (self.original, self.function))
        assert wanted == given, f"{self.attribute}: {given} instead of {wanted}"

    @contextmanager
    def inPlace(self) -> Iterator[None]:
        """Install the mistake temporarily."""
        found = inspect.getattr_static(self.owner, self.attribute)
        new: Any = self.function
        if isinstance(found, classmethod | staticmethod):
            new = type(found)(new)
        with mock.patch.object(self.owner, self.attribute, new):
            yield


def _parameters(function: Callable[..., Any]) -> list[tuple[str, object, object]]:
    return [
        (one.name, one.kind, one.default)
        for one in inspect.signature(function).parameters.values()
    ]


@dataclass(frozen=True)
class Mutant:
    """
    A mistake.

    @ivar hunt: the test that finds it: L{HISTORIES}, L{NO_ROSTER}, or the name of a
        test case.
    """

    name: str
    replacements: Sequence[Replacement]
    hunt: str

    @contextmanager
    def inPlace(self) -> Iterator[None]:
        """Put the mistake in, for a while."""
        with ExitStack() as stack:
            for one in self.replacements:
                stack.enter_context(one.inPlace())
            yield


def edited(
    owner: type | ModuleType, attribute: str, *edits: tuple[str, str]
) -> Replacement:
    """
    A function with its own source, edited.

    @param edits: each a text that occurs exactly once, and its replacement.
    @raise AssertionError: a text does not occur exactly once, because the code has
        changed.
    """
    found = inspect.getattr_static(owner, attribute)
    function = getattr(found, "__func__", found)
    source = textwrap.dedent(inspect.getsource(function))
    if isinstance(found, classmethod | staticmethod):
        source = source.partition("\n")[2]
    for before, after in edits:
        assert source.count(before) == 1, (
            f"{attribute}: {source.count(before)} of {before}"
        )
        source = source.replace(before, after)
    names: dict[str, Any] = {}
    code = compile(
        "from __future__ import annotations\n" + source,
        f"<mutant of {attribute}>",
        "exec",
    )
    # The module's own names, as they are at the time of the call.
    exec(code, vars(sys.modules[function.__module__]), names)
    return Replacement(owner, attribute, names[function.__name__])


def acknowledgeBeforeCommit() -> Sequence[Replacement]:
    """The listener acknowledges received lines before they are committed."""
    original = AckedSession.framesReceived

    def framesReceived(self: AckedSession, messages: list[bytes]) -> None:
        original(self, messages)
        current = self._streams.current
        if current is not None:
            grant = current.lease
            self._connection.sendControl(
                ACK(grant.stream, grant.generation, current.received)
            )

    def committed(self: AckedSession, batches: Any, now: float) -> None:
        self._settled()

    return (
        Replacement(AckedSession, "framesReceived", framesReceived),
        Replacement(AckedSession, "committed", committed),
    )


def advanceAtDrain() -> Sequence[Replacement]:
    """
    The forwarder advances after writing, without an acknowledgement, as DECNET's did.
    """
    send = AckedSender._sendChunk
    resumed = AckedSender._resumed

    def _sendChunk(self: AckedSender, content: Any, chunk: Any) -> None:
        send(self, content, chunk)
        stream = self._streams.of[content]
        content.acknowledge(*stream.sent.popleft())
        stream.acknowledged = chunk.end

    def _resumed(self: AckedSender, line: RESUME) -> None:
        mark = self._opened(line.stream, line.generation).content.acknowledged
        if line.offset < mark.offset:
            line = RESUME(
                line.stream, line.generation, mark.offset, mark.base, mark.crc
            )
        resumed(self, line)

    def _acknowledged(self: AckedSender, line: ACK) -> None:
        """Ignore the acknowledgement."""

    def _at(self: AckedSession, line: Any) -> None:
        """Accept the position: such a listener would not compare either."""
        stream = self._streams.granted(line.stream, line.generation, "AT")
        self._cut()
        self._streams.current = stream

    return (
        Replacement(AckedSender, "_sendChunk", _sendChunk),
        Replacement(AckedSender, "_resumed", _resumed),
        Replacement(AckedSender, "_acknowledged", _acknowledged),
        Replacement(AckedSession, "_at", _at),
    )


def forgetGeneration() -> Sequence[Replacement]:
    """A rotated file continues under the generation of the previous file."""
    original = FileFollower.begin

    def begin(
        self: FileFollower,
        descriptor: int,
        file: Any,
        life: Any,
        origin: int = 0,
        label: str = "",
    ) -> Any:
        self.generation = -1
        return original(self, descriptor, file, life, origin, label)

    return (Replacement(FileFollower, "begin", begin),)


def applyTwice() -> Sequence[Replacement]:
    """
    After a crash, every batch after the cursor is written, whatever the file already
    has.
    """
    return (
        edited(
            OutputFile,
            "_recover",
            (
                "self.unaccountedOctets = self.size - recorded.length",
                "self.unaccountedOctets = 0",
            ),
        ),
    )


def withoutComparing() -> Sequence[Replacement]:
    """The journal commits a deposit at any position of the stream and for any owner."""
    return (
        edited(
            StoredStreams,
            "advance",
            (
                "known[:2] != (grant.epoch, deposit.start):\n        return None",
                "not known:\n        return None",
            ),
            (
                "WHERE id = ? AND epoch = ? AND offset = ?",
                "WHERE id = ? AND ? + ? >= 0",
            ),
        ),
    )


MUTANTS = (
    Mutant("acknowledge before commit", acknowledgeBeforeCommit(), HISTORIES),
    Mutant("advance the offset at drain", advanceAtDrain(), HISTORIES),
    Mutant("forget the generation on rotation", forgetGeneration(), HISTORIES),
    Mutant("apply a batch twice after a crash", applyTwice(), HISTORIES),
    Mutant("commit without comparing", withoutComparing(), NO_ROSTER),
    Mutant(
        "commit for another worker",
        (edited(StoredStreams, "advance", (" AND worker = ?", " AND ? IS NOT NULL")),),
        "tests.journal.test_sqlite.PositionTests.test_rowOfAnother",
    ),
    Mutant(
        "no sync of an output before its cursor",
        (edited(AppendedFile, "sync", ("os.fdatasync(self.descriptor)", "pass")),),
        HISTORIES,
    ),
    Mutant(
        "no look at the anchor of an output",
        (edited(OutputFile, "_has", ("== recorded.anchor", "is not None")),),
        "tests.outputs.test_hostile.CopyTests.test_overwrittenInPlace",
    ),
    Mutant(
        "forget what is ahead of an output",
        (edited(OutputFile, "_recover", ("= recorded.ahead", "= 0")),),
        "tests.outputs.test_moved.HalfLineTests.test_killedAfterOperation",
    ),
    Mutant(
        "record the output's old file",
        (
            edited(
                FileOutput,
                "_look",
                ("files.count(path)", "files._moved[path] = file.counted()"),
            ),
        ),
        "tests.outputs.test_moved.HalfLineTests.test_oldFileGone",
    ),
    Mutant(
        "believe a copy of an output",
        (
            edited(
                EarlierFile,
                "_choose",
                (
                    "common(octets, copy.read(self.counted.length, len(octets)))",
                    "len(octets)",
                ),
            ),
        ),
        "tests.outputs.test_moved.MovedWhileDownTests.test_uncountedLinesAreFound",
    ),
    Mutant(
        "forget the end of a deleted output",
        (edited(OutputFile, "leave", ("late is not None and late < read", "False")),),
        "tests.outputs.test_moved.DeletedWhileWrittenTests.test_behindTheArchive",
    ),
    Mutant(
        "take any reader of a deleted output for its mover",
        (
            edited(
                Sizes,
                "before",
                ("r.closed is None or r.closed >= then", "r.opened >= then"),
            ),
        ),
        "tests.outputs.test_moved.SizesTests.test_slowMover",
    ),
    Mutant(
        "report no repeat of lines that an output has in another form",
        (edited(FileOutput, "_settle", ("file.unlike is not None", "False")),),
        "tests.outputs.test_unlike.UnlikeTests.test_rewrittenInPlace",
    ),
    Mutant(
        "import a service before its signals are held",
        (edited(signals, "holdSignals", ("signal.SIG_BLOCK", "signal.SIG_UNBLOCK")),),
        "tests.test_signals.StartTests.test_beforeTheImport",
    ),
    Mutant(
        "write over zeros of the same boot",
        (edited(OutputFile, "_verify", (" and self._doubted.boot != bootId()", "")),),
        "tests.outputs.test_fileoutput.CrashTests.test_foreignZerosAreKept",
    ),
    Mutant(
        "no checkpoint when the journal opens",
        (
            edited(
                database,
                "_opened",
                (
                    'db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()',
                    "(0, 0, 0)",
                ),
            ),
        ),
        "tests.journal.test_sqlite.OpenTests.test_walIsCheckpointed",
    ),
    Mutant(
        "commit rows before their octets are synced",
        (edited(SegmentFile, "sync", ("syncData(self._descriptor)", "pass")),),
        "tests.journal.test_segments.PlacingTests.test_octetsBeforeRows",
    ),
    Mutant(
        "use a segment again before its batches' deletion is on disk",
        (edited(Segments, "released", ("self._unsynced.add", "self._free.add")),),
        "tests.journal.test_segments.ReuseTests.test_notBeforeDeletionIsSynced",
    ),
    Mutant(
        "believe the octets of a segment",
        (edited(BatchTable, "_batch", ("crc32(octets, seed) != crc", "False")),),
        "tests.journal.test_segments.DamageTests.test_eachSector",
    ),
    Mutant(
        "create a file of segments that is missing",
        (
            edited(
                Segments,
                "__init__",
                ("self._batches and not self._file.exists", "False"),
            ),
        ),
        "tests.journal.test_segments.DamageTests.test_missingFile",
    ),
    Mutant(
        "no sync of the directory when the journal opens",
        (edited(database, "_opened", ("syncDirectory(path.parent)", "pass")),),
        "tests.journal.test_sqlite.OpenTests.test_directoryIsSynced",
    ),
    Mutant(
        "a missing revocation list is believed",
        (
            edited(
                Revocations,
                "after",
                ("if new is None and old is None:", "if new is None:"),
            ),
        ),
        "tests.trust.test_admission.RevocationTests.test_invalidListAtStartKeepsPrevious",
    ),
    Mutant(
        "a missing copy of the revocation list is believed",
        (
            edited(
                InForce,
                "_firstLists",
                ("if damaged and lists.unknownOf(self._authorities):", "if False:"),
            ),
        ),
        "tests.trust.test_admission.RevocationTests.test_invalidListAtFirstStart",
    ),
    Mutant(
        "a list revokes what another CA has made",
        (
            edited(
                Revocations,
                "since",
                (" and isSigned(certificate, one.authority)", ""),
            ),
        ),
        "tests.trust.test_two_authorities.KeyTests.test_sameSerial",
    ),
    Mutant(
        "a list with the same number replaces one with more entries",
        (
            edited(
                revocation,
                "_refuses",
                ("new.number == old.number and", "False and"),
            ),
        ),
        "tests.trust.test_two_authorities.KeyTests.test_sameNumber",
    ),
    Mutant(
        "serve a peer whose handshake completed only for its BYE",
        (edited(ListenerProtocol, "_objection", ("found is not None", "False")),),
        "tests.conversations.test_refused.ByeTests.test_codesForCertificates",
    ),
    Mutant(
        "replace the CA's key without a copy of the old one",
        (
            edited(
                replacement,
                "beginReplacement",
                ("_store(directory / PREVIOUS, old)", "pass"),
            ),
        ),
        "tests.trust.test_replacement.DeathTests.test_diedInFirstStep",
    ),
    Mutant(
        "no sync of a log before its octets are shipped",
        (edited(ContentFile, "sync", ("self._bringToDisk(self._fileno())", "pass")),),
        "tests.files.test_unsaved.SyncTests.test_beforeShipping",
    ),
    Mutant(
        "no discard when a connection is superseded",
        (edited(AckedSession, "supersede", ("self._discard()", "pass")),),
        "tests.receiving.test_reception.AcknowledgedTests.test_supersededInTransit",
    ),
    Mutant(
        "base and checksum go on after a gap at the listener",
        (edited(StoredStreams, "advance", ("base, crc = deposit.end, 0", "pass")),),
        "tests.journal.test_sqlite.PositionTests.test_gapMovesPosition",
    ),
    Mutant(
        "base and checksum go on after a gap at the forwarder",
        (
            edited(
                AckedSender,
                "_sendChunk",
                ("stream.base, stream.crc = chunk.end, 0", "pass"),
            ),
        ),
        "tests.conversations.test_many_files.GapTests.test_checksumRestartsAfterGap",
    ),
    Mutant(
        "the shortest of several fitting contents is taken",
        (
            edited(
                _reconcile._Reconciliation,
                "verdicts",
                ("key=lambda c: -c.content.extent", "key=lambda c: c.content.extent"),
            ),
        ),
        "tests.files.test_reconcile.RuleTests.test_longestMatchWins",
    ),
    Mutant(
        "the proof of a copy is not checked",
        (
            edited(
                _rules,
                "proves",
                ("file.checksum(proof.start, proof.end, 0) == proof.crc", "True"),
            ),
        ),
        "tests.files.test_reconcile.RuleTests.test_differingTailIsNew",
    ),
    Mutant(
        "what ended counts as delivered for another journal",
        (
            edited(
                JournalPositions,
                "connect",
                ("everyJournal=isPlain or not resend", "everyJournal=True"),
            ),
        ),
        "tests.conversations.test_journals.LiarTests.test_checksumOfNothing",
    ),
)

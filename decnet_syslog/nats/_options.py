"""Options for a journal in NATS, and functions that open it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.python import usage

from ..boundaries import OptionRow
from ..errors import UserError, installCommand
from ..options import count
from ._access import SCHEMES, Access, access, checkAccess, checkName

if TYPE_CHECKING:
    from ._bus import Bus
    from ._journal import JetStreamJournal
    from ._outbox import Outbox
    from ._outputsjournal import OutputsJournal

__all__ = [
    "COMPRESSION_PARAMETERS",
    "NATS_FLAGS",
    "NATS_PARAMETERS",
    "checkNats",
    "isNats",
    "natsAccess",
    "natsJournal",
    "natsOutbox",
]

NAME = "decnet"


def checkEncoding(text: str) -> str:
    """
    Check a value of C{--journal-compression}.

    @raise ValueError: it is unknown.
    """
    if text not in ("zstd", "none"):
        raise ValueError("zstd or none")
    return text


NATS_PARAMETERS: list[OptionRow] = [
    [
        "journal-name",
        None,
        NAME,
        "With a journal in NATS: name of the stream, and first token of its subjects",
        checkName,
    ],
    [
        "journal-replicas",
        None,
        None,
        "With a journal in NATS: copies of the stream, if it is created now [3 in a cluster,"
        " 1 otherwise]",
        count,
    ],
    [
        "journal-ca",
        None,
        None,
        "With a journal in NATS: the CA of its servers, in PEM; then TLS is required",
    ],
    [
        "journal-cert",
        None,
        None,
        "With a journal in NATS: the client certificate for its servers, in PEM",
    ],
    ["journal-key", None, None, "With a journal in NATS: the certificate's key"],
    [
        "journal-credentials",
        None,
        None,
        "With a journal in NATS: a file with a user's .creds, an nkey's seed, or name:password",
    ],
]

NATS_FLAGS: list[OptionRow] = [
    [
        "journal-plaintext",
        None,
        "With a journal in NATS: connect to other machines without TLS. Anyone on the network"
        " path can read and change lines",
    ]
]


COMPRESSION_PARAMETERS: list[OptionRow] = [
    [
        "journal-compression",
        None,
        "zstd",
        "With a journal in NATS: compression of batches, zstd or none. Other programs that"
        " read the stream must support it",
        checkEncoding,
    ]
]


def isNats(journal: str) -> bool:
    """Whether a journal is in NATS, not a file."""
    return journal.startswith(SCHEMES)


def _given(
    options: usage.Options,
) -> tuple[str, Mapping[str, str | None], bool]:
    """The arguments of L{access} and of L{checkAccess}."""
    files = ("ca", "cert", "key", "credentials")
    paths = {name: options[f"journal-{name}"] for name in files}
    return options["journal"], paths, bool(options["journal-plaintext"])


def checkNats(options: usage.Options) -> None:
    """
    Check the options without the files that they name.

    @raise UserError: they could not be used on any machine.
    """
    checkAccess(*_given(options))


def natsAccess(options: usage.Options) -> Access:
    """
    The servers and the credentials in the options.

    @raise UserError: they cannot be used.
    """
    return access(*_given(options))


def _bus(options: usage.Options) -> Bus:
    where = natsAccess(options)
    try:
        from ._bus import Bus
    except ImportError:
        raise UserError(
            "a journal in NATS needs nats-py, which is not installed: run"
            f" {installCommand('nats-py[nkeys]', 'zstandard')}"
        ) from None
    return Bus.open(where)


def natsJournal(
    options: usage.Options, messageOctetsMax: int, streamsPerWorkerMax: int
) -> Callable[[], JetStreamJournal]:
    """
    Make a function that opens the journal in the options. It may raise L{UserError}.

    @param messageOctetsMax: maximum length of a line.
    @param streamsPerWorkerMax: as of L{JetStreamJournal.open}.
    """

    def opened() -> JetStreamJournal:
        bus = _bus(options)
        from ._journal import JetStreamJournal
        from ._layout import Layout

        layout = Layout(
            options["journal-name"], options["journal-replicas"], options["journal-max"]
        )
        try:
            return JetStreamJournal.open(
                bus,
                layout,
                messageOctetsMax,
                streamsPerWorkerMax,
                options["journal-compression"],
            )
        except BaseException:
            bus.close()
            raise

    return opened


def natsOutbox(
    options: usage.Options, state: Path, holder: str, clock: Callable[[], float]
) -> Callable[[], tuple[OutputsJournal, Outbox]]:
    """
    Make a function that opens the journal for the process that writes the outputs. It may raise
    L{UserError}.

    @param state: the file of the cursors.
    @param holder: as of L{Outbox}, like C{clock}.
    """

    def opened() -> tuple[OutputsJournal, Outbox]:
        bus = _bus(options)
        from ._layout import Layout
        from ._outbox import Outbox
        from ._outputsjournal import OutputsJournal
        from ._outputstate import OutputState

        layout = Layout(
            options["journal-name"], options["journal-replicas"], options["journal-max"]
        )
        try:
            local = OutputState.open(state)
            try:
                outbox = Outbox(bus, layout, local, holder, clock)
                journal = OutputsJournal.openWith(bus, layout, outbox)
                outbox.prepare()
            except BaseException:
                local.close()
                raise
        except BaseException:
            bus.close()
            raise
        return journal, outbox

    return opened

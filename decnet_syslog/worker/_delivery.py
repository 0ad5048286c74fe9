"""Chooses acknowledged or plain delivery, by the master's protocol and the option."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from ..files import FollowedFiles
from ..reactors import IReactor
from ..sending import AckedSender, Counts, ISender, PlainSender, Session
from ._filesthread import FilesThread
from ._protocol import ForwarderProtocol

__all__ = ["Delivery"]


class Delivery:
    """Makes the sender of each connection."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        thread: FilesThread,
        files: FollowedFiles,
        counts: Counts,
        workerName: Callable[[], str],
        *,
        delivery: str,
        resendToNewMaster: bool,
        chunkOctets: int,
    ) -> None:
        """
        @param workerName: returns the name in the certificate that is in use.
        @param delivery: auto, acked or plain.
        """
        self._reactor = reactor
        self._thread = thread
        self._files = files
        self._counts = counts
        self._workerName = workerName
        self._delivery = delivery
        self._resend = resendToNewMaster
        self._chunkOctets = chunkOctets

    def sessionFor(self, connection: ForwarderProtocol) -> Session | None:
        """
        Make the session of a connection.

        @return: C{None} to refuse this master.
        """
        session = Session(self._reactor, self._thread, connection)
        sender: ISender
        if connection.control:
            sender = AckedSender(
                self._files,
                session,
                session,
                self._counts,
                self._workerName(),
                self._resend,
                self._chunkOctets,
            )
        elif self._delivery == "acked":
            self._log.error(
                "the master does not support acknowledged delivery (decnet-syslog/1), and"
                " --delivery=acked requires it: nothing is sent, and the forwarder tries again."
                " Check that --master-host is a decnet-listener"
            )
            return None
        else:
            sender = PlainSender(self._files, session, session, self._counts)
        session.begin(sender)
        return session

    def connected(self, connection: ForwarderProtocol) -> None:
        """The master accepted us: log which delivery it gets."""
        if connection.control:
            self._log.info("connected to the master with acknowledged delivery")
            return
        if self._delivery == "auto" and self._files.journal.isPresent:
            self._log.warn(
                "the master acknowledged before but does not now: a crash of the receiver can"
                " lose lines. To wait for a master that acknowledges, set --delivery=acked"
            )
        self._log.info(
            "connected to the master with plain RFC 5425, without acknowledgements"
        )

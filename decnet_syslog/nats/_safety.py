"""
The settings of the journal's stream, and of its servers: created, checked, and reported when they
could lose lines.

What must be true: a stream that could lose stored messages is not used
(L{decnet_syslog.nats._layout}), also if its settings were changed while it is open.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from twisted.logger import Logger

from ..boundaries import JSONObject
from ..errors import UserError
from ..journal import JournalBlocked
from ._answers import NAME_TAKEN, NOT_YET, errorOf
from ._bus import Bus
from ._layout import REPLICAS, Layout
from ._messages import HEADERS_OCTETS_MAX
from ._stream import JournalStream

__all__ = ["PayloadLimit", "StreamSettings"]

# How often unsafe settings are logged again while they last, in seconds.
SAID_AGAIN_S = 60.0


class StreamSettings:
    """
    The settings of a stream. All coroutines run in the bus's thread.

    @ivar unsafe: how the settings could lose lines, at the last check; empty if they cannot.
    """

    _log = Logger()

    def __init__(self, stream: JournalStream, layout: Layout) -> None:
        self._stream = stream
        self._layout = layout
        self.unsafe = self._reported = ""
        self._saidAt = float("-inf")
        # Replicas when it was opened; fewer are unsafe.
        self._copies = 0

    async def ensure(self, mayMake: bool = True) -> None:
        """
        Create the stream, or check that the existing one is safe.

        @param mayMake: whether to create a missing stream. An empty stream could prevent an
            operator from restoring the old one.
        @raise UserError: it is not, or cannot be created.
        @raise JournalBlocked: try again later.
        """
        answer = await self._stream.ask("STREAM.INFO")
        if errorOf(answer) is not None:
            if not mayMake:
                raise JournalBlocked(self._stream.gone)
            # Without a cluster the account's JetStream knows no peers.
            answer = await self._make()
        self._check(answer["config"])
        self._copies = int(answer["config"].get("num_replicas", 1))

    async def check(self) -> int:
        """
        Check the stream's state and settings.

        @return: its last sequence.
        @raise JournalBlocked: it is gone, or does not answer.
        """
        answer = await self._stream.ask("STREAM.INFO")
        if errorOf(answer) is not None:
            raise JournalBlocked(self._stream.gone)
        config, state = answer["config"], answer["state"]
        identity = self._layout.identityOf(config)
        wrong = self._layout.faults(config)
        copies = int(config.get("num_replicas", 1))
        if copies < self._copies:
            wrong.append(f"it has {copies} replicas, and had {self._copies}")
        if identity is not None:
            self._stream.identity = identity
        self._stream.octetsMax = self._layout.size(config)
        self._stream.octets = int(state["bytes"])
        self.unsafe = ""
        if wrong:
            self.unsafe = (
                f"the stream {self._stream.name} was edited and can lose lines: {', '.join(wrong)};"
                " change it back with the nats tool"
            )
        return int(state["last_seq"])

    async def _make(self) -> JSONObject:
        stream, layout = self._stream, self._layout
        wanted = [layout.replicas] if layout.replicas is not None else [REPLICAS, 1]
        while True:
            answer = await stream.bus.api(
                f"STREAM.CREATE.{stream.name}",
                **layout.settings(wanted[0]),
            )
            error = errorOf(answer)
            if error is None or error[0] == NAME_TAKEN:
                # If another listener was faster, check its stream like any existing one.
                answer = await stream.ask("STREAM.INFO")
                if errorOf(answer) is not None:
                    raise JournalBlocked(f"the stream {stream.name} is not there yet")
                return answer
            code, why = error
            if "non-clustered" not in why or len(wanted) == 1:
                break
            del wanted[0]
        if code in NOT_YET:
            raise JournalBlocked(f"JetStream refuses: {why}")
        raise UserError(
            f"cannot create the stream {stream.name}: {why}; reduce --journal-replicas or"
            " --journal-max to the size of the cluster, or create the stream as in"
            " docs/jetstream.rst"
        )

    def _check(self, config: Mapping[str, object]) -> None:
        """
        Refuse a stream that could lose lines, or that belongs to another program.

        @raise UserError: it lists the wrong settings.
        """
        stream, layout = self._stream, self._layout
        identity = layout.identityOf(config)
        wrong = layout.faults(config)
        if wrong or identity is None:
            raise UserError(
                f"the stream {stream.name} cannot be the journal: {', '.join(wrong)}; edit"
                " it with the nats tool, or choose another --journal-name"
            )
        stream.identity = identity
        stream.octetsMax = layout.size(config)

    def report(self) -> None:
        """Log when the stream's settings become unsafe, and when they are safe again."""
        before, self._reported = self._reported, self.unsafe
        now = time.monotonic()
        if self.unsafe and (not before or now - self._saidAt > SAID_AGAIN_S):
            self._saidAt = now
            self._log.error(
                "{reason}; accepting nothing until then, lines accepted before may be lost",
                event="unsafe",
                reason=self.unsafe,
            )
        elif before and not self.unsafe:
            self._log.info(
                "the settings of the stream {stream} are safe again",
                event="unsafe",
                over=True,
                stream=self._stream.name,
                reason="corrected",
            )


class PayloadLimit:
    """
    Whether the servers accept our longest lines.

    @ivar needs: the length of a message with such a line, in octets.
    """

    _log = Logger()

    def __init__(self, bus: Bus, messageOctetsMax: int) -> None:
        self._bus = bus
        self._messageOctetsMax = messageOctetsMax
        self.needs = messageOctetsMax + 1 + HEADERS_OCTETS_MAX
        self._said = 0

    def ensure(self) -> None:
        """
        Check this at the start.

        @raise UserError: the servers do not.
        """
        if self.needs > self._bus.payloadMax:
            raise UserError(
                f"the NATS server accepts messages of at most {self._bus.payloadMax} octets, too"
                f" few for lines of {self._messageOctetsMax}: set max_payload on all servers to"
                f" {self.needs} or more, or lower --max-message"
            )

    def report(self) -> None:
        """Log when the servers stop accepting our longest lines, and when they resume."""
        most = self._bus.payloadMax
        if most == self._said or (most >= self.needs and not self._said):
            return
        if most < self.needs:
            self._said = most
            self._log.error(
                "the NATS server accepts messages of at most {most} octets now, so longer lines"
                " wait at their workers; set max_payload to {needs} or more",
                event="unsafe",
                most=most,
                needs=self.needs,
                reason="max_payload",
            )
        else:
            self._said = 0
            self._log.info(
                "the NATS server accepts messages of {most} octets again",
                event="unsafe",
                over=True,
                most=most,
                reason="max_payload",
            )

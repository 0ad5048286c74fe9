"""
The key-value bucket that other hosts read: the cursors of the outputs and the lease, in one value.

What must be true: each write names the previous revision, so a process that did not see another
process's write is refused. L{decnet_syslog.nats._outbox} has the theory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from uuid import uuid4

from ..boundaries import JSONObject
from ..journal import JournalBlocked
from ._answers import NAME_TAKEN, errorOf
from ._bus import Bus
from ._history import StreamHistory
from ._lease import LeaseLost, WentBack
from ._opening import opening
from ._stream import EXPECTED, JournalStream

__all__ = ["Bucket", "Value", "releasedOf"]

BUCKET_OCTETS_MAX = 1024 * 1024
KEY = "outputs"

# Maximum number of eras in the value. It must cover the time between two holders.
BUCKET_ERAS = 32


@dataclass(frozen=True, slots=True)
class Value:
    """
    The value in the bucket.

    @ivar revision: of the value's message; 0: there is no value.
    @ivar holder: the process that writes the outputs; "": none.
    @ivar place: the identity of the database with the cursors.
    @ivar host: as of L{decnet_syslog.nats._lease.placeOf}; "": not known.
    @ivar journal: the identity of the stream.
    @ivar history: the history of the cursors; C{None} if an older program wrote the value.
    @ivar times: of each cursor, when its message was stored; only from an older program.
    @ivar attempt: 32 hex digits, random for each write.
    """

    revision: int = 0
    holder: str = ""
    place: str = ""
    host: str = ""
    journal: str = ""
    history: StreamHistory | None = None
    cursors: dict[str, int] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    attempt: str = ""

    @property
    def released(self) -> int:
        """Every output has all messages up to this one."""
        return min(self.cursors.values(), default=0)

    def asJson(self) -> bytes:
        """Serialize everything but the revision."""
        return json.dumps(
            {
                "holder": self.holder,
                "place": self.place,
                "host": self.host,
                "journal": self.journal,
                "history": self.history and self.history.asText(BUCKET_ERAS),
                "cursors": self.cursors,
                # Older programs need this member.
                "times": self.times,
                "attempt": self.attempt,
            }
        ).encode()

    @classmethod
    def parse(cls, revision: int, text: bytes) -> Value:
        """
        Parse the output of L{asJson}.

        @raise ValueError: the text has another format.
        """
        try:
            said: JSONObject = json.loads(text)
            return cls(
                revision,
                str(said["holder"]),
                str(said["place"]),
                str(said.get("host", "")),
                str(said["journal"]),
                StreamHistory.parse(said["history"]) if said.get("history") else None,
                {str(output): int(seq) for output, seq in said["cursors"].items()},
                {str(output): int(time) for output, time in said["times"].items()},
                str(said["attempt"]),
            )
        except (KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"no value of the outputs: {error!r}") from None


class Bucket:
    """The bucket of a journal. All coroutines run in the bus's thread."""

    def __init__(self, bus: Bus, name: str) -> None:
        """
        @param name: the journal's name.
        """
        self._bus = bus
        self._journal = name
        self.name = f"{name}-outputs"
        self._subject = f"$KV.{self.name}.{KEY}"
        self._stream = JournalStream(bus, f"KV_{self.name}")
        # The attempts of writes without an answer.
        self._attempts: list[str] = []

    def prepare(self) -> None:
        """
        Create the bucket.

        @raise UserError: that is impossible.
        """
        opening(self._bus, f"the bucket {self.name}", self._prepare)

    async def _prepare(self) -> None:
        info = await JournalStream(self._bus, self._journal).ask("STREAM.INFO")
        if errorOf(info) is not None:
            # Its number of replicas is needed: the bucket keeps that number for ever.
            raise JournalBlocked(f"the stream {self._journal} is gone")
        replicas = info["config"]["num_replicas"]
        answer = await self._bus.api(
            f"STREAM.CREATE.{self._stream.name}",
            name=self._stream.name,
            subjects=[f"$KV.{self.name}.>"],
            retention="limits",
            storage="file",
            discard="new",
            max_msgs_per_subject=1,
            max_bytes=BUCKET_OCTETS_MAX,
            max_msgs=-1,
            max_age=0,
            max_msg_size=-1,
            max_consumers=-1,
            num_replicas=replicas,
            duplicate_window=120 * 10**9,
            allow_rollup_hdrs=True,
            deny_delete=True,
            allow_direct=False,
        )
        error = errorOf(answer)
        if error is not None and error[0] != NAME_TAKEN:
            raise JournalBlocked(f"JetStream refuses: {error[1]}")

    async def read(self) -> Value:
        """
        Read the value.

        @raise JournalBlocked: try again later, or another program has written it.
        """
        last = await self._stream.last(self._subject)
        if last is None:
            return Value()
        try:
            return Value.parse(last.seq, last.data)
        except ValueError:
            raise JournalBlocked(
                f"the value of {KEY} in the bucket {self.name} was written by another program;"
                " choose another --journal-name"
            ) from None

    async def write(self, value: Value) -> Value:
        """
        Write the value, as the successor of its revision.

        @return: the value with its new revision.
        @raise JournalBlocked: it may be written or not; the next write finds out.
        @raise LeaseLost: the bucket has another revision.
        @raise WentBack: the bucket has an older one.
        """
        value = replace(value, attempt=uuid4().hex)
        before = value.revision
        self._attempts.append(value.attempt)
        while True:
            seq = await self._stream.publish(
                self._subject, value.asJson(), {EXPECTED: str(before)}
            )
            if seq is not None:
                break
            there = await self.read()
            if there.revision < before:
                raise WentBack(
                    f"the bucket {self.name} went back: it was at revision {before} and is at"
                    f" {there.revision}"
                )
            if there.attempt not in self._attempts or there.revision <= before:
                raise LeaseLost(
                    f"{there.holder or 'no process'} has the lease on the outputs of"
                    f" {self._journal} now"
                )
            # Our own write, whose answer was lost: this one follows it.
            before = there.revision
        self._attempts = []
        return replace(value, revision=seq)


async def releasedOf(bus: Bus, name: str) -> int:
    """Read the last message up to which every output has everything."""
    return (await Bucket(bus, name).read()).released

"""Control lines about the state of the two ends: the forwarder's reports, the listener's limit.

Reports have two forms. STATE, TROUBLE and BEAT are those of decnet-syslog/1.1 and /2; LAG, TROUBLE
and REPORT are those of decnet-syslog/2.1, which also has LIMIT.
"""

from __future__ import annotations

from ..values import value
from ._fields import Ages, ControlLine, Id, Name, Number, Word

__all__ = ["BEAT", "LAG", "LIMIT", "REPORT", "STATE", "TROUBLE"]


@value
class STATE(ControlLine):
    """
    How much of a file is delivered: C{position} of C{size} octets are acknowledged.

    @ivar age: age of the oldest line that is not acknowledged, in milliseconds; 0: none.
    """

    stream: Id
    generation: Number
    size: Number
    position: Number
    age: Number


@value
class LAG(ControlLine):
    """
    How much of a file is delivered, and how old its undelivered lines are.

    @ivar ages: positions with the age of the octet there, in milliseconds, in the order of the
        file. The first position is the acknowledged one; the age at the last one holds up to
        C{size}. Between two positions, ages are interpolated. Age 0 at the first: no complete line
        waits.
    """

    stream: Id
    generation: Number
    size: Number
    ages: Ages

    @property
    def position(self) -> int:
        """The octets that are acknowledged."""
        return self.ages[0][0]

    @property
    def age(self) -> int:
        """The age of the oldest line that is not acknowledged, in milliseconds; 0: none."""
        return self.ages[0][1]


@value
class TROUBLE(ControlLine):
    """A file that cannot be delivered now, and why."""

    kind: Word
    name: Name
    reason: Name


@value
class BEAT(ControlLine):
    """
    The forwarder is alive. Ends the report that the preceding STATE and TROUBLE lines began.

    @ivar files: the number of followed files.
    @ivar behind: octets of all files that are not acknowledged.
    @ivar age: age of the oldest line that is not acknowledged, in milliseconds; 0: none.
    """

    files: Number
    behind: Number
    age: Number


@value
class REPORT(ControlLine):
    """
    As L{BEAT}, after LAG and TROUBLE lines.

    @ivar clock: when the forwarder looked at its files, in milliseconds on a clock of its own that
        never goes back.
    """

    clock: Number
    files: Number
    behind: Number
    age: Number


@value
class LIMIT(ControlLine):
    """
    Whether the listener holds this worker back, and why.

    @ivar octets: how many octets may be unacknowledged; 0: as many as the forwarder likes.
    @ivar reason: C{none}, or what holds the worker back.
    @ivar text: the reason for people; C{-}: none.
    """

    octets: Number
    reason: Word
    text: Name

"""
The settings of the JetStream stream that is the journal.

What must be true: a stream that could lose stored messages is not used. So at its limits it refuses
new messages (C{discard: new}), and never removes old ones, whatever their age, number or size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from ..boundaries import Facts

__all__ = ["REPLICAS", "Layout"]

# How long the server remembers the Nats-Msg-Id of a plain peer's message, in nanoseconds. Our own
# attempts are a second or a time-out apart.
DUPLICATES_NS = 120 * 10**9

# The stream's description.
_OURS = re.compile(r"decnet_syslog journal ([0-9a-f]{32})\Z")

# Default number of replicas in a cluster: one node may be gone.
REPLICAS = 3


@dataclass(frozen=True, slots=True)
class Layout:
    """
    The name and the size of the journal.

    @ivar name: the name of the stream, and the first token of its subjects.
    @ivar replicas: C{None}: three in a cluster, one on a single server.
    @ivar octetsMax: maximum size of the stream on each node.
    """

    name: str
    replicas: int | None
    octetsMax: int

    def settings(self, replicas: int) -> dict[str, object]:
        """The settings of a new stream, with a new identity."""
        return {
            "name": self.name,
            "description": f"decnet_syslog journal {uuid4().hex}",
            "subjects": [f"{self.name}.>"],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_bytes": self.octetsMax,
            "max_msgs": -1,
            "max_age": 0,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "max_consumers": -1,
            "num_replicas": replicas,
            "duplicate_window": DUPLICATES_NS,
            "allow_direct": False,
        }

    @staticmethod
    def identityOf(config: Mapping[str, object]) -> str | None:
        """The identity of a stream with these settings; C{None}: another program created it."""
        match = _OURS.match(str(config.get("description", "")))
        return None if match is None else match[1]

    def faults(self, config: Facts) -> list[str]:
        """List the settings that could lose lines, or that show a foreign stream."""
        said = {
            "its description is not decnet_syslog's": self.identityOf(config) is None,
            f"its subjects are not {self.name}.>": config.get("subjects")
            != [f"{self.name}.>"],
            "retention is not limits": config.get("retention") != "limits",
            "storage is not file": config.get("storage") != "file",
            "discard is not new": config.get("discard") != "new",
            "max_age is set": config.get("max_age", 0) != 0,
            "max_msgs_per_subject is set": config.get("max_msgs_per_subject", -1) > 0,
            "max_msg_size is set": config.get("max_msg_size", -1) > 0,
            "subject_transform is set": bool(config.get("subject_transform")),
            "it is sealed": bool(config.get("sealed")),
            "deny_purge is set": bool(config.get("deny_purge")),
            f"it does not have {self.replicas} replicas": self.replicas
            not in (None, config.get("num_replicas")),
        }
        return [what for what, isSo in said.items() if isSo]

    def size(self, config: Facts) -> int:
        """The maximum size of a stream with these settings, in octets."""
        most = int(config.get("max_bytes", -1))
        return most if most > 0 else self.octetsMax

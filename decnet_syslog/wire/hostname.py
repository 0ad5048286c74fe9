"""
HOSTNAME: what a message says of its machine, beside what the certificate says.

A decoy writes the name it plays, so a HOSTNAME that is not the worker's is nothing bad by
itself: C{source_worker} says who sent it. It is marked, so that nobody has to compare.

The two are the same when they are equal but for case, or when one of them has no domain
and is the first label of the other. NILVALUE says nothing, and contradicts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

__all__ = ["contradicts", "firstContradiction", "hostnameOf"]

# Pairs of names that are known: a fleet's decoys, many times over.
KNOWN_MAX = 4096

# RFC 5424 section 6: a HOSTNAME has 255 characters at most. Ours takes what DECNET takes.
_HEADER = re.compile(rb"<[0-9]{1,3}>1 [^ ]+ ([^ ]+) ")


@lru_cache(maxsize=KNOWN_MAX)
def contradicts(hostname: str, worker: str) -> bool:
    """Whether a HOSTNAME names another machine than the worker's certificate."""
    if hostname == "-":
        return False
    said, known = hostname.lower(), worker.lower()
    if "." not in said:
        known = known.partition(".")[0]
    elif "." not in known:
        said = said.partition(".")[0]
    return said != known


def hostnameOf(message: bytes) -> str | None:
    """The HOSTNAME of a message's header; C{None}: it has none that could be found."""
    match = _HEADER.match(message)
    return None if match is None else match[1].decode("utf-8", "replace")


def firstContradiction(
    messages: Sequence[bytes], worker: str
) -> tuple[int, str] | None:
    """Which of the messages is the first to name another machine, and what it says."""
    for at, message in enumerate(messages):
        hostname = hostnameOf(message)
        if hostname is not None and contradicts(hostname, worker):
            return at, hostname
    return None

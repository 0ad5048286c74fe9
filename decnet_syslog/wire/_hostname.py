"""
HOSTNAME: a message's own claim about its machine, compared with the certificate's name.

A decoy writes the name that it plays, so a HOSTNAME other than the worker's is no problem in
itself: C{source_worker} names the sender. The record is marked, so that consumers need not compare.

The two names match if they are equal apart from case, or if one has no domain and equals the first
label of the other. NILVALUE contradicts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

__all__ = ["contradicts", "firstContradiction", "hostnameOf"]

# Cached pairs of names: a fleet's decoys repeat them many times.
KNOWN_MAX = 4096

# RFC 5424 section 6 limits a HOSTNAME to 255 characters. We accept the lengths that DECNET accepts.
_HEADER = re.compile(rb"<[0-9]{1,3}>1 [^ ]+ ([^ ]+) ")


@lru_cache(maxsize=KNOWN_MAX)
def contradicts(hostname: str, worker: str) -> bool:
    """Whether a HOSTNAME names another machine than the worker's certificate does."""
    if hostname == "-":
        return False
    said, known = hostname.lower(), worker.lower()
    if "." not in said:
        known = known.partition(".")[0]
    elif "." not in known:
        said = said.partition(".")[0]
    return said != known


def hostnameOf(message: bytes) -> str | None:
    """The HOSTNAME in a message's header; C{None} if there is none."""
    match = _HEADER.match(message)
    return None if match is None else match[1].decode("utf-8", "replace")


def firstContradiction(
    messages: Sequence[bytes], worker: str
) -> tuple[int, str] | None:
    """The index of the first message that names another machine, and that name."""
    for at, message in enumerate(messages):
        hostname = hostnameOf(message)
        if hostname is not None and contradicts(hostname, worker):
            return at, hostname
    return None

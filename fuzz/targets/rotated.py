"""
L{decnet_syslog.files}: the names of rotated copies, and the contents of compressed
ones.

An archive unpacks to the content that another decoder finds, or not at all. Both ways
to judge a name must agree.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard

from decnet_syslog.files import RotatedNames
from decnet_syslog.files._archives import openArchive
from decnet_syslog.files._names import RotatedIndex
from decnet_syslog.files._outcomes import Damaged, Unpacked, Unsupported
from decnet_syslog.files._outlines import headOf

from ..scratch import directory
from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

OCTETS_MAX = 8192
OPAQUE = False

_TEXT = b"".join([b"%d: a line\n" % number for number in range(400)])
_ZSTD = zstandard.ZstdCompressor(write_checksum=True)

WORDS = (
    *(b"\x1f\x8b\x08\0\0\0\0\0\0\x03", b"\x1f\x8b\x08\x1f", b"\0\0\0\0\0\0\0\0"),
    *(gzip.compress(b"", mtime=0), gzip.compress(b"a line\n", mtime=0)),
    *(bz2.compress(b"a\n"), lzma.compress(b"a\n"), _ZSTD.compress(b"a\n"), b"YZ"),
    *(b"\x50\x2a\x4d\x18\x01\0\0\0", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh9"),
    *(b".1", b"-20260418", b".gz", b".xz", b"app.log", b".2.gz", b"app.log.1", b".log"),
    *(b"2026-04-18", b"T12:00:00Z", b".old", b"current", b"@4000.s", b"-26-04-18"),
)

SEEDS = (
    b"\0.1.gz\0" + gzip.compress(b"a line\n", mtime=0),
    b"\0.1.gz\0" + gzip.compress(_TEXT, mtime=0),
    b"\0.2.gz\0" + gzip.compress(b"one\n", mtime=0) + gzip.compress(b"", mtime=0),
    b"\0-20260418.gz\0" + gzip.compress(bytes(100_000), mtime=0) + bytes(30),
    b"\1.1\0" + bz2.compress(_TEXT),
    b"\2.1\0" + lzma.compress(_TEXT) + bytes(4) + lzma.compress(b"a\n"),
    b"\3.1\0" + _ZSTD.compress(_TEXT) + _ZSTD.compress(b""),
)

# Logs whose names begin alike, and additional names that a directory may have.
_LOGS = ("app.log", "app", "app-1", "app.2026-04-18", "current", "app.1.log")


def _streams(octets: bytes, begin: Callable[[], Any]) -> bytes:
    """
    Streams, with zeros between and after them, which Python's own functions ignore.
    """
    parts = []
    while octets:
        stream = begin()
        # When unpacking at once, zstd also refuses content that its checksum proves to
        # be right.
        for at in range(len(octets)):
            parts.append(stream.decompress(octets[at : at + 1]))
            if stream.eof:
                octets = octets[at + 1 :].lstrip(b"\0")
                break
        else:
            raise EOFError
    return b"".join(parts)


_DECODERS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    (".gz", gzip.decompress),
    (".bz2", lambda octets: _streams(octets, bz2.BZ2Decompressor)),
    (".xz", lambda octets: _streams(octets, lzma.LZMADecompressor)),
    (
        ".zst",
        lambda octets: _streams(octets, zstandard.ZstdDecompressor().decompressobj),
    ),
)


def _names(name: str) -> None:
    """
    Check that a log alone and among others gives the same verdict, except for followed
    names.
    """
    logs = [f"/nowhere/{log}" for log in _LOGS]
    found = RotatedIndex(logs).pathsOf("/nowhere", name)
    assert len(set(found)) == len(found)
    for log in logs:
        alone = RotatedNames(log)
        alone.order(name)
        matches = alone.matches("/nowhere", name)
        assert not matches or name != os.path.basename(log)
        assert (log in found) == (matches and name not in _LOGS), (log, name)


def _archive(path: Path, octets: bytes, decode: Callable[[bytes], bytes]) -> None:
    """Check that an archive has the content that the other decoder finds, or none."""
    path.write_bytes(octets)
    later = path.stat().st_ctime + 3600
    outcome = openArchive(
        str(path), directory() / "held", isWritten=lambda _: False, now=lambda: later
    )
    head = headOf(str(path))
    if not isinstance(outcome, Unpacked):
        assert isinstance(outcome, Damaged | Unsupported), outcome
        assert outcome.reason
        return
    with open(outcome.descriptor, "rb") as file:
        whole = file.read()
    assert outcome.octets == len(whole)
    wanted = decode(octets)
    assert whole == wanted, (len(whole), len(wanted))
    assert head is None or whole.startswith(head)


def run(octets: bytes) -> None:
    """A format, the ending of a name, NUL, and the octets of a file."""
    source = Source(octets)
    suffix, decode = _DECODERS[source.octet() % len(_DECODERS)]
    ending, _, content = source.rest().partition(b"\0")
    name = os.fsdecode(ending)
    if "/" not in name and len(name) < 200:
        _names(f"app{name}")
        _names(name)
    # A file's first octets decide, not its suffix.
    magics = {b"\x1f\x8b": 0, b"BZ": 1, b"\xfd7": 2, b"\x28\xb5": 3}
    if content[:2] in magics:
        suffix, decode = _DECODERS[magics[content[:2]]]
    _archive(directory() / f"app.log.1{suffix}", content, decode)

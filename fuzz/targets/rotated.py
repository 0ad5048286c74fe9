"""
L{decnet_syslog.worker.rotation}: what a rotated file has in it, compressed or not.

What is unpacked must be what Python's own gzip unpacks; a name is a rotated one's or not,
and never both a log's and its copy's.
"""

from __future__ import annotations

import gzip
import os
import zlib

from decnet_syslog.worker.beside import siblings
from decnet_syslog.worker.bookmarks import Bookmark
from decnet_syslog.worker.rotation import (
    HEAD_OCTETS,
    beginningOf,
    fits,
    gzipOutline,
    isRotatedName,
    openSibling,
    pastOf,
    startOf,
)

from ..scratch import directory
from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

OCTETS_MAX = 8192
OPAQUE = False

WORDS = (
    *(b"\x1f\x8b\x08\0\0\0\0\0\0\x03", b"\x1f\x8b\x08\x1f", b"\0\0\0\0\0\0\0\0"),
    *(gzip.compress(b"", mtime=0), gzip.compress(b"a line\n", mtime=0)),
    *(b".1", b"-20260418", b".gz", b".xz", b"app.log", b".2.gz", b"app.log.1"),
)

_TEXT = b"".join([b"%d: a line\n" % number for number in range(400)])

SEEDS = (
    b"\0.1.gz\0" + gzip.compress(b"a line\n", mtime=0),
    b"\0.1.gz\0" + gzip.compress(_TEXT, mtime=0),
    b"\0.2.gz\0" + gzip.compress(b"one\n", mtime=0) + gzip.compress(b"", mtime=0),
    b"\0-20260418.gz\0" + gzip.compress(bytes(100_000), mtime=0) + bytes(30),
    b"\x07.1\0" + _TEXT,
)


def _names(ending: bytes) -> None:
    """Names are judged one way by both who look at them."""
    name = os.fsdecode(ending)
    path = f"/logs/app.log{name}"
    live = {"/logs/app.log"}
    rotated = isRotatedName(path, live)
    if "/" in name or not name:
        return
    place = directory() / "names"
    place.mkdir(exist_ok=True)
    file = place / f"app.log{name}"
    try:
        file.touch()
    except OSError:
        # Too long for any file.
        return
    base = str(place / "app.log")
    found = [*siblings(base), *siblings(base, True)]
    file.unlink()
    # What has an ending of a compressed file is no log, whatever it belongs to.
    compressed = name.endswith((".gz", ".bz2", ".xz", ".zst"))
    assert (found == [str(file)]) == rotated or (rotated and compressed), name


def _unpacked(octets: bytes) -> bytes | None:
    """What Python's gzip makes of it."""
    try:
        return gzip.decompress(octets)
    except (OSError, EOFError, zlib.error):
        return None


def run(octets: bytes) -> None:
    """A place in the content, the ending of a name, NUL, and what the file has in it."""
    source = Source(octets)
    offset = source.octet() * 16
    ending, _, content = source.rest().partition(b"\0")
    _names(ending)
    path = directory() / ("app.log.1.gz" if ending.endswith(b".gz") else "app.log.1")
    path.write_bytes(content)
    past = pastOf(str(path), "app.log", "5" * 32, 0, directory() / "held")
    descriptor = openSibling(str(path), directory() / "held")
    try:
        _judge(descriptor, path.name, content, past, offset)
        outline = gzipOutline(str(path))
        if descriptor is None or not path.name.endswith(".gz"):
            return
        assert outline is not None
        size = os.fstat(descriptor).st_size
        whole = os.pread(descriptor, size, 0)
        assert whole.startswith(outline[0]) and outline[1] <= size
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _judge(
    descriptor: int | None, name: str, content: bytes, past: Bookmark | None, at: int
) -> None:
    """What was opened has the content, and is recognised by it."""
    if descriptor is None:
        assert name.endswith(".gz")
        return
    size = os.fstat(descriptor).st_size
    wanted = _unpacked(content) if name.endswith(".gz") else content
    whole = os.pread(descriptor, size, 0)
    assert whole == wanted, (len(whole), wanted and len(wanted))
    assert beginningOf(descriptor, descriptor)
    at = min(at, size)
    mark = Bookmark(
        *("5" * 32, 0, "app.log", 0, 0, size, whole[:HEAD_OCTETS], at),
        anchor=whole[max(0, at - 256) : at],
    )
    assert fits(descriptor, mark, True)
    assert not startOf(descriptor, mark)
    assert past is not None and past.finished

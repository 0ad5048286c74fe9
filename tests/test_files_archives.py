"""Tests for compressed files: L{decnet_syslog.files}, archives, outlines and writers."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import random
import shutil
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import SkipTest, mock

import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.files import (
    HEAD_OCTETS,
    RESERVE_OCTETS,
    Damaged,
    NoSpace,
    Outcome,
    Outline,
    TooLarge,
    Unfinished,
    Unpacked,
    Unsupported,
    isOpenForWriting,
    openArchive,
    outline,
    unpacking,
)


def zstd(octets: bytes, **parameters: Any) -> bytes:
    return zstandard.ZstdCompressor(**parameters).compress(octets)


def zstdStreamed(octets: bytes) -> bytes:
    """As "zstd" makes it of a pipe: without a size."""
    stream = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return stream.compress(octets) + stream.flush()


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
    ".zstd": zstdStreamed,
}

LINES = b"".join(b"<13>1 - h a - - - line %d\n" % n for n in range(30_000))
NOISE = random.Random(1).randbytes(300_000)


def nobodyWrites(descriptor: int) -> bool | None:
    return False


class ArchiveTestCase(SynchronousTestCase):
    """A directory for archives, and one for their contents."""

    def setUp(self) -> None:
        self.directory = Path(os.path.realpath(self.mktemp()))
        self.directory.mkdir()
        self.held = self.directory / "held"
        self.descriptors = self.open()

    def tearDown(self) -> None:
        """No descriptor is left, and no file."""
        self.assertEqual(self.open(), self.descriptors)
        if self.held.exists():
            self.assertEqual(os.listdir(self.held), [])

    def open(self) -> list[str]:
        """Descriptors of files in our directory."""
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                path = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue
            if path.startswith(str(self.directory)):
                found.append(path)
        return found

    def write(self, suffix: str, octets: bytes, ago: float = 3600) -> Path:
        """Write an archive whose last change was some seconds ago."""
        path = self.directory / f"app.log.1{suffix}"
        path.write_bytes(octets)
        self.now = path.stat().st_ctime + ago
        return path

    def unpack(self, path: Path, **more: Any) -> Outcome:
        more = {"isWritten": nobodyWrites, "now": lambda: self.now, **more}
        return openArchive(str(path), self.held, **more)

    def content(self, path: Path, **more: Any) -> bytes:
        """The content, which must be whole."""
        outcome = self.unpack(path, **more)
        assert isinstance(outcome, Unpacked), outcome
        with open(outcome.descriptor, "rb") as file:
            octets = file.read()
        self.assertEqual(outcome.octets, len(octets))
        return octets


class ContentTests(ArchiveTestCase):
    """What is in an archive comes out."""

    def test_formats(self) -> None:
        """Each format that can be read, with contents of each kind."""
        for suffix, compress in COMPRESSORS.items():
            for content in (b"", b"a", LINES, NOISE, bytes(3_000_000), LINES + NOISE):
                path = self.write(suffix, compress(content))
                self.assertEqual(self.content(path), content, suffix)

    def test_strung(self) -> None:
        """Several streams, short and long and empty, one behind the other."""
        for suffix in COMPRESSORS:
            compress = COMPRESSORS[suffix]
            parts = [LINES[:100], b"", LINES[100:], NOISE, b"", b"a"]
            path = self.write(suffix, b"".join(map(compress, parts)))
            self.assertEqual(self.content(path), b"".join(parts), suffix)

    def test_members(self) -> None:
        """Very many short ones, in time that does not grow with their square."""
        for suffix in COMPRESSORS:
            path = self.write(suffix, COMPRESSORS[suffix](b"a\n") * 5000)
            self.assertEqual(self.content(path), b"a\n" * 5000, suffix)

    def test_padding(self) -> None:
        """Zeros behind and between streams: the blocks of a tape."""
        for suffix in COMPRESSORS:
            packed = COMPRESSORS[suffix](LINES)
            path = self.write(suffix, packed + bytes(512) + packed + bytes(10_240))
            self.assertEqual(self.content(path), 2 * LINES, suffix)

    def test_otherSuffix(self) -> None:
        """What the file begins with counts, not its suffix: compressext can say anything."""
        for compress in COMPRESSORS.values():
            path = self.write(".gz", compress(LINES))
            self.assertEqual(self.content(path), LINES)

    def test_programs(self) -> None:
        """What the real programs make, of a file and of a pipe."""
        for program, suffix in (
            ("gzip", ".gz"),
            ("bzip2", ".bz2"),
            ("xz", ".xz"),
            ("zstd", ".zst"),
        ):
            if not shutil.which(program):
                continue
            plain = self.directory / "plain"
            plain.write_bytes(LINES)
            for level in ("-1", "-9"):
                with open(plain, "rb") as source:
                    piped = subprocess.run(
                        [program, level, "-c"],
                        stdin=source,
                        capture_output=True,
                        check=True,
                    )
                named = subprocess.run(
                    [program, level, "-c", str(plain)], capture_output=True, check=True
                )
                for octets in (piped.stdout, named.stdout):
                    path = self.write(suffix, octets)
                    self.assertEqual(self.content(path), LINES)
                    seen = outline(str(path))
                    assert seen is not None
                    self.assertEqual(seen.head, LINES[:HEAD_OCTETS])
                    self.assertTrue(seen.admits(len(LINES)))

    def test_descriptor(self) -> None:
        """Of an open file, wherever it stands; it stays open and stays there."""
        path = self.write(".gz", gzip.compress(LINES))
        with open(path, "rb") as file:
            file.seek(7)
            outcome = openArchive(
                file.fileno(), self.held, name="app.log.1.gz", isWritten=nobodyWrites
            )
            assert isinstance(outcome, Unpacked)
            os.close(outcome.descriptor)
            self.assertEqual(file.tell(), 7)

    def test_skippable(self) -> None:
        """Frames of zstd that are no content (pzstd writes one before each)."""
        skip = b"\x5f\x2a\x4d\x18" + (50_000).to_bytes(4, "little") + bytes(50_000)
        empty = b"\x50\x2a\x4d\x18" + bytes(4)
        octets = skip + zstd(LINES) + empty + skip + zstd(b"b\n") + skip
        path = self.write(".zst", octets)
        self.assertEqual(self.content(path), LINES + b"b\n")
        for cut in (len(skip) - 1, len(octets) - 1):
            self.assertIsInstance(
                self.unpack(self.write(".zst", octets[:cut])), Damaged
            )

    @settings(deadline=None, derandomize=True, database=None, max_examples=100)
    @given(st.sampled_from(sorted(COMPRESSORS)), st.lists(st.binary(), max_size=4))
    def test_any(self, suffix: str, parts: list[bytes]) -> None:
        """Whatever was compressed."""
        packed = [COMPRESSORS[suffix](part) for part in parts or [b""]]
        path = self.write(suffix, b"".join(packed))
        self.assertEqual(self.content(path), b"".join(parts))


class TroubleTests(ArchiveTestCase):
    """Archives whose content cannot be had."""

    def test_cut(self) -> None:
        """Cut at each octet: not finished while it is written or has just changed, damaged
        afterwards; never complete, and never an exception."""
        content = LINES[:2000] + NOISE[:300]
        for suffix, compress in COMPRESSORS.items():
            packed = compress(content)
            for cut in {*range(40), *range(40, len(packed), 7), len(packed) - 1}:
                path = self.write(suffix, packed[:cut])
                outcome = self.unpack(path)
                self.assertIsInstance(outcome, Damaged, f"{suffix} {cut}")
                if cut % 20 == 0:
                    outcome = self.unpack(path, isWritten=lambda fd: True)
                    self.assertIsInstance(outcome, Unfinished, f"{suffix} {cut}")
                    self.now -= 3590
                    outcome = self.unpack(path)
                    assert isinstance(outcome, Unfinished), f"{suffix} {cut}"
                    self.assertAlmostEqual(outcome.wait, 50, delta=1)

    def test_cutBetween(self) -> None:
        """An archive whose first stream is complete while a process still writes to it."""
        path = self.write(".gz", gzip.compress(b"a\n"))
        outcome = self.unpack(path, isWritten=lambda fd: True)
        self.assertIsInstance(outcome, Unfinished)

    def test_flipped(self) -> None:
        """A changed bit is found by the format's checksum, wherever it is in the content."""
        for suffix in (".gz", ".bz2", ".xz", ".zstd"):
            packed = COMPRESSORS[suffix](LINES)
            for at in range(20, len(packed), len(packed) // 20):
                octets = bytearray(packed)
                octets[at] ^= 4
                outcome = self.unpack(self.write(suffix, bytes(octets)))
                if isinstance(outcome, Unpacked):
                    # An unused bit: the content is right.
                    with open(outcome.descriptor, "rb") as file:
                        self.assertEqual(file.read(), LINES)
                else:
                    self.assertIsInstance(outcome, Damaged, f"{suffix} {at}")

    def test_garbage(self) -> None:
        """Something else behind the last stream, or instead of the first."""
        for suffix, compress in COMPRESSORS.items():
            for octets in (b"no archive at all\n", NOISE, bytes(4096)):
                outcome = self.unpack(self.write(suffix, octets))
                self.assertIsInstance(outcome, Damaged, suffix)
            if suffix in (".gz", ".xz", ".zst"):
                outcome = self.unpack(self.write(suffix, compress(b"a\n") + b"garbage"))
                self.assertIsInstance(outcome, Damaged, suffix)

    def test_hole(self) -> None:
        """A file with a hole behind its content is not read for hours."""
        for suffix in COMPRESSORS:
            path = self.write(suffix, COMPRESSORS[suffix](b"a\n"))
            os.truncate(path, 2**40)
            self.now = path.stat().st_ctime + 3600
            self.assertIsInstance(self.unpack(path), Damaged, suffix)

    def test_unsupported(self) -> None:
        """Known but unreadable formats are reported with the remedy."""
        for suffix, octets in (
            (".lz4", b"\x04\x22\x4d\x18rest"),
            (".Z", b"\x1f\x9d\x90rest"),
            (".zip", b"PK\x03\x04rest"),
            (".br", b"rest"),
            (".lzma", bytes(100)),
            (".gz", b"PK\x03\x04rest"),
        ):
            path = self.write(suffix, octets)
            outcome = self.unpack(path)
            assert isinstance(outcome, Unsupported), suffix
            self.assertIn("gzip, bzip2, xz or zstd", outcome.reason)
            self.assertIsNone(outline(str(path)))
        self.assertIsInstance(self.unpack(self.write("", b"plain\n")), Unsupported)

    def test_noLibrary(self) -> None:
        """zstd without a library: which one, and how to get it."""
        path = self.write(".zst", zstd(LINES))
        missing = {"zstandard": None, "compression.zstd": None, "compression": None}
        with mock.patch.dict(sys.modules, missing):
            outcome = self.unpack(path)
            self.assertIsNone(outline(str(path)))
        assert isinstance(outcome, Unsupported)
        self.assertEqual(outcome.codec, "zstd")
        self.assertIn("pip install zstandard", outcome.reason)

    def test_dictionary(self) -> None:
        """A frame that needs a dictionary."""
        words = zstandard.train_dictionary(
            4096, [b"line %d of a log, of many alike\n" % n for n in range(1000)]
        )
        packed = zstandard.ZstdCompressor(dict_data=words).compress(LINES)
        outcome = self.unpack(self.write(".zst", packed))
        assert isinstance(outcome, Unsupported)
        self.assertIn("dictionary", outcome.reason)

    def test_gone(self) -> None:
        """A file that is not there, a link, a directory, a pipe."""
        (self.directory / "link.gz").symlink_to(self.write(".gz", gzip.compress(b"")))
        (self.directory / "directory.gz").mkdir()
        os.mkfifo(self.directory / "pipe.gz")
        for name in ("gone", "link", "directory", "pipe"):
            path = self.directory / f"{name}.gz"
            self.assertRaises(FileNotFoundError, self.unpack, path)
            self.assertRaises(FileNotFoundError, outline, str(path))

    def test_stopped(self) -> None:
        """Whoever stops in the middle leaves nothing (tearDown looks)."""
        path = self.write(".gz", gzip.compress(LINES))
        for steps in range(4):
            work = unpacking(str(path), self.held)
            for _ in range(steps):
                next(work)
            work.close()


class BoundTests(ArchiveTestCase):
    """Archives that stand for more than there is room."""

    def bombs(self) -> dict[str, bytes]:
        zeros = bytes(64 * 1024 * 1024)
        # Blocks of zstd that are one octet each, 128 KiB plain: 32 KiB would be a GiB.
        block = (128 * 1024 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
        return {
            ".gz": gzip.compress(zeros),
            ".bz2": bz2.compress(zeros),
            ".xz": lzma.compress(zeros),
            ".zst": b"\x28\xb5\x2f\xfd\x00\x60" + block * 8000,
        }

    def test_memory(self) -> None:
        """A piece is at most a MiB, whatever the format."""
        bombs = self.bombs()
        for suffix, octets in bombs.items():
            path = self.write(suffix, octets)
            sizes: list[int] = []
            real = os.write

            def write(
                descriptor: int, data: bytes, real: Any = real, sizes: Any = sizes
            ) -> int:
                sizes.append(len(data))
                return int(real(descriptor, data))

            tracemalloc.start()
            with mock.patch("os.write", write):
                self.unpack(path, octetsMax=32 * 1024 * 1024)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLessEqual(max(sizes), 1024 * 1024, suffix)
            self.assertGreater(sum(sizes), 30 * 1024 * 1024, suffix)
            # Of xz 8 MiB are the window.
            self.assertLess(peak, 16 * 1024 * 1024, suffix)

    def test_limit(self) -> None:
        """More content than the caller allows; exactly as much is fine."""
        path = self.write(".gz", gzip.compress(LINES))
        self.assertEqual(self.content(path, octetsMax=len(LINES)), LINES)
        outcome = self.unpack(path, octetsMax=len(LINES) - 1)
        self.assertEqual(outcome, TooLarge(len(LINES) - 1))

    def test_reserve(self) -> None:
        """Some octets of the disk stay free, also when others write to it meanwhile."""
        path = self.write(".gz", gzip.compress(bytes(40 * 1024 * 1024)))
        free = [RESERVE_OCTETS // 4096 + 512]
        disk = mock.Mock(f_frsize=4096)
        type(disk).f_bavail = mock.PropertyMock(side_effect=lambda: free[0])
        with mock.patch("os.statvfs", return_value=disk):
            outcome = self.unpack(path)
            assert isinstance(outcome, NoSpace)
            self.assertLessEqual(outcome.octets, 512 * 4096)
            self.assertEqual(outcome.reserve, RESERVE_OCTETS)
            # There was enough room; then another program took it.
            free[0] = 10**6
            work = unpacking(str(path), self.held, isWritten=nobodyWrites)
            for _ in range(5):
                next(work)
            free[0] = 0
            with self.assertRaises(StopIteration) as ended:
                for _ in range(10**6):
                    next(work)
            self.assertIsInstance(ended.exception.value, NoSpace)
            self.assertLess(ended.exception.value.octets, 17 * 1024 * 1024)

    def test_full(self) -> None:
        """The disk is full although it said otherwise: a quota."""
        path = self.write(".gz", gzip.compress(LINES))
        for number in (errno.ENOSPC, errno.EDQUOT):
            refused = OSError(number, os.strerror(number))
            with mock.patch("os.write", side_effect=refused):
                self.assertIsInstance(self.unpack(path), NoSpace)
        with mock.patch("os.write", side_effect=OSError(errno.EIO, "EIO")):
            self.assertRaises(OSError, self.unpack, path)

    def test_window(self) -> None:
        """A frame that wants more memory than the format's usual programs take."""
        # RFC 8878 section 3.1.1.1.2: 2**41 octets.
        path = self.write(".zst", b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(100))
        outcome = self.unpack(path)
        assert isinstance(outcome, Unsupported)
        self.assertIn("--long", outcome.reason)
        # The same of xz: the size of the dictionary, and the header's checksum.
        packed = bytearray(lzma.compress(LINES))
        at = packed.index(b"\x21\x01") + 2
        packed[at] = 36
        end = 12 + (packed[12] + 1) * 4
        packed[end - 4 : end] = zlib.crc32(packed[12 : end - 4]).to_bytes(4, "little")
        outcome = self.unpack(self.write(".xz", bytes(packed)))
        assert isinstance(outcome, Unsupported), outcome
        self.assertIn("memory", outcome.reason)

    def test_noTemporary(self) -> None:
        """A file system that has no files without a name."""
        real = os.open

        def opened(path: Any, flags: int, *more: Any, **others: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "EOPNOTSUPP")
            return real(path, flags, *more, **others)

        path = self.write(".gz", gzip.compress(LINES))
        with mock.patch("os.open", opened):
            self.assertEqual(self.content(path), LINES)


class OutlineTests(ArchiveTestCase):
    """Head and size at a glance."""

    def outline(self, suffix: str, octets: bytes) -> Outline:
        found = outline(str(self.write(suffix, octets)))
        assert found is not None, suffix
        return found

    def test_formats(self) -> None:
        """Those that tell their size do, and the others tell none."""
        for suffix, compress in COMPRESSORS.items():
            for content in (LINES, NOISE, LINES + NOISE):
                found = self.outline(suffix, compress(content))
                self.assertEqual(found.head, content[:HEAD_OCTETS], suffix)
                self.assertTrue(found.admits(len(content)), suffix)
                knows = suffix in (".gz", ".xz", ".zst")
                self.assertEqual(found.admits(len(content) + 1), not knows, suffix)

    def test_short(self) -> None:
        """The head of a short content is the content, and so its size is known."""
        for suffix, compress in COMPRESSORS.items():
            for content in (b"", b"a\n"):
                found = self.outline(suffix, compress(content))
                self.assertEqual(found, Outline(content, len(content)), suffix)

    def test_modulo(self) -> None:
        """gzip tells 32 bits of the size."""
        found = Outline(b"", 5, 2**32)
        self.assertTrue(found.admits(5) and found.admits(5 + 2**32))
        self.assertFalse(found.admits(6))

    def test_strung(self) -> None:
        """Of several streams only xz knows them all; no format tells a wrong size."""
        for suffix in COMPRESSORS:
            compress = COMPRESSORS[suffix]
            for parts in ([LINES, NOISE], [b"a\n", LINES], [b"", LINES]):
                whole = b"".join(parts)
                octets = b"".join(map(compress, parts)) + bytes(8)
                found = self.outline(suffix, octets)
                self.assertEqual(found.head, whole[:HEAD_OCTETS], suffix)
                if suffix == ".gz" and len(parts[0]) > HEAD_OCTETS:
                    # It shows the size of the last: the first is longer than our look.
                    continue
                self.assertTrue(found.admits(len(whole)), suffix)

    def test_cut(self) -> None:
        """Cut anywhere: no outline, or one of the head, and never an exception."""
        for suffix, compress in COMPRESSORS.items():
            packed = compress(LINES)
            for cut in range(0, len(packed), 97):
                found = outline(str(self.write(suffix, packed[:cut])))
                if found is not None:
                    self.assertEqual(found.head, LINES[: len(found.head)])

    def test_hostileIndex(self) -> None:
        """An index of xz that claims very many blocks, or a number without an end."""
        packed = lzma.compress(LINES + NOISE)
        footer = packed[-12:]
        for index in (
            b"\0" + b"\xff" * 8 + b"\x7f" + bytes(50),
            b"\0\x05" + b"\xff" * 900_001,
        ):
            index += bytes(-len(index) % 4)
            index += zlib.crc32(index).to_bytes(4, "little")
            size = (len(index) // 4 - 1).to_bytes(4, "little") + footer[8:10]
            end = zlib.crc32(size).to_bytes(4, "little") + size + b"YZ"
            path = self.write(".xz", packed + index + end)
            self.assertIsNone(outline(str(path)))


class WritersTests(ArchiveTestCase):
    """Finding out whether a process can still write to a file."""

    def ask(self, path: Path) -> bool:
        with open(path, "rb") as file:
            writing = isOpenForWriting(file.fileno())
        if writing is None:
            raise SkipTest(
                "leases do not work here: the file system, or the file's owner"
            )
        return writing

    def test_writer(self) -> None:
        """Our own writer, another process, and none; readers do not count."""
        path = self.write("", b"a\n")
        self.assertFalse(self.ask(path))
        with open(path, "rb"):
            self.assertFalse(self.ask(path))
        with open(path, "ab"):
            self.assertTrue(self.ask(path))
        self.assertFalse(self.ask(path))
        with open(path, "ab") as file:
            other = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
        self.assertTrue(self.ask(path))
        other.communicate()
        self.assertFalse(self.ask(path))

    def test_afterwards(self) -> None:
        """Nobody who opens it then is held up, or makes the kernel send us a signal."""
        path = self.write("", b"a\n")
        with open(path, "rb") as file:
            isOpenForWriting(file.fileno())
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            os.close(descriptor)

    def test_unknown(self) -> None:
        """Without leases the answer is unknown."""
        for number in (errno.EACCES, errno.EINVAL, errno.ENOLCK):
            with mock.patch("fcntl.fcntl", side_effect=OSError(number, "no")):
                self.assertIsNone(isOpenForWriting(0))

    def test_archive(self) -> None:
        """A growing archive is unfinished until its writer closes it."""
        path = self.write(".gz", b"")
        self.ask(path)
        packed = gzip.compress(LINES)
        with open(path, "wb", buffering=0) as file:
            for octets in (packed[:-1], packed[-1:]):
                file.write(octets)
                outcome = self.unpack(path, isWritten=isOpenForWriting)
                assert isinstance(outcome, Unfinished)
                self.assertEqual(outcome.writing, True)
        self.assertEqual(self.content(path, isWritten=isOpenForWriting), LINES)

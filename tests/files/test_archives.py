"""Tests for compressed files: L{decnet_syslog.files}, archives, heads and writers."""

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

from decnet_syslog.files import isOpenForWriting
from decnet_syslog.files._archives import RESERVE_OCTETS, openArchive, unpacking
from decnet_syslog.files._contents import HEAD_OCTETS
from decnet_syslog.files._outcomes import (
    Damaged,
    NoSpace,
    Outcome,
    TooLarge,
    Unfinished,
    Unpacked,
    Unsupported,
)
from decnet_syslog.files._outlines import headOf


def zstd(octets: bytes, **parameters: Any) -> bytes:
    return zstandard.ZstdCompressor(**parameters).compress(octets)


def zstdStreamed(octets: bytes) -> bytes:
    """The output of "zstd" for a pipe: the size is missing."""
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
        """Check that no descriptor and no file is left."""
        self.assertEqual(self.open(), self.descriptors)
        if self.held.exists():
            self.assertEqual(os.listdir(self.held), [])

    def open(self) -> list[str]:
        """Open descriptors of files in our directory."""
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
        """Write an archive that last changed some seconds ago."""
        path = self.directory / f"app.log.1{suffix}"
        path.write_bytes(octets)
        self.now = path.stat().st_ctime + ago
        return path

    def unpack(self, path: Path, **more: Any) -> Outcome:
        more = {"isWritten": nobodyWrites, "now": lambda: self.now, **more}
        return openArchive(str(path), self.held, **more)

    def content(self, path: Path, **more: Any) -> bytes:
        """The content, which must be complete."""
        outcome = self.unpack(path, **more)
        assert isinstance(outcome, Unpacked), outcome
        with open(outcome.descriptor, "rb") as file:
            octets = file.read()
        self.assertEqual(outcome.octets, len(octets))
        return octets


class ContentTests(ArchiveTestCase):
    """The content of valid archives is unpacked."""

    def test_everyFormat(self) -> None:
        """Every readable format is unpacked, with various contents."""
        for suffix, compress in COMPRESSORS.items():
            for content in (b"", b"a", LINES, NOISE, bytes(3_000_000), LINES + NOISE):
                path = self.write(suffix, compress(content))
                self.assertEqual(self.content(path), content, suffix)

    def test_severalStreams(self) -> None:
        """
        An archive of several streams, short, long and empty, is unpacked as one
        content.
        """
        for suffix in COMPRESSORS:
            compress = COMPRESSORS[suffix]
            parts = [LINES[:100], b"", LINES[100:], NOISE, b"", b"a"]
            path = self.write(suffix, b"".join(map(compress, parts)))
            self.assertEqual(self.content(path), b"".join(parts), suffix)

    def test_manyShortStreams(self) -> None:
        """Very many short streams are unpacked in less than quadratic time."""
        for suffix in COMPRESSORS:
            path = self.write(suffix, COMPRESSORS[suffix](b"a\n") * 5000)
            self.assertEqual(self.content(path), b"a\n" * 5000, suffix)

    def test_zeroPadding(self) -> None:
        """Zeros between and after streams, as in the blocks of a tape, are skipped."""
        for suffix in COMPRESSORS:
            packed = COMPRESSORS[suffix](LINES)
            path = self.write(suffix, packed + bytes(512) + packed + bytes(10_240))
            self.assertEqual(self.content(path), 2 * LINES, suffix)

    def test_otherSuffix(self) -> None:
        """
        The format is recognised by the file's first octets, not its suffix, because
        logrotate's compressext can set any suffix.
        """
        for compress in COMPRESSORS.values():
            path = self.write(".gz", compress(LINES))
            self.assertEqual(self.content(path), LINES)

    def test_realPrograms(self) -> None:
        """
        The output of the real programs is unpacked, made from a file or from a pipe.
        """
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
                    head = LINES[:HEAD_OCTETS] if suffix == ".gz" else None
                    self.assertEqual(headOf(str(path)), head)

    def test_openDescriptor(self) -> None:
        """
        An open file is unpacked whatever its position; it stays open, and the position
        is kept.
        """
        path = self.write(".gz", gzip.compress(LINES))
        with open(path, "rb") as file:
            file.seek(7)
            outcome = openArchive(
                file.fileno(), self.held, name="app.log.1.gz", isWritten=nobodyWrites
            )
            assert isinstance(outcome, Unpacked)
            os.close(outcome.descriptor)
            self.assertEqual(file.tell(), 7)

    def test_skippableFrames(self) -> None:
        """zstd's skippable frames are ignored (pzstd writes one before each frame)."""
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
    def test_anyParts(self, suffix: str, parts: list[bytes]) -> None:
        """Any content is unpacked unchanged."""
        packed = [COMPRESSORS[suffix](part) for part in parts or [b""]]
        path = self.write(suffix, b"".join(packed))
        self.assertEqual(self.content(path), b"".join(parts))


class TroubleTests(ArchiveTestCase):
    """Archives whose content is unavailable."""

    def test_truncatedAnywhere(self) -> None:
        """
        An archive truncated at any octet is unfinished while a process writes to it or
        it has just changed, and damaged afterwards; it never counts as complete or
        causes an exception.
        """
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

    def test_growingAfterFirstStream(self) -> None:
        """
        An archive is unfinished if its first stream is complete but a process still
        writes to it.
        """
        path = self.write(".gz", gzip.compress(b"a\n"))
        outcome = self.unpack(path, isWritten=lambda fd: True)
        self.assertIsInstance(outcome, Unfinished)

    def test_flippedBit(self) -> None:
        """The format's checksum detects a changed bit anywhere in the content."""
        for suffix in (".gz", ".bz2", ".xz", ".zstd"):
            packed = COMPRESSORS[suffix](LINES)
            for at in range(20, len(packed), len(packed) // 20):
                octets = bytearray(packed)
                octets[at] ^= 4
                outcome = self.unpack(self.write(suffix, bytes(octets)))
                if isinstance(outcome, Unpacked):
                    # An unused bit: the content is correct.
                    with open(outcome.descriptor, "rb") as file:
                        self.assertEqual(file.read(), LINES)
                else:
                    self.assertIsInstance(outcome, Damaged, f"{suffix} {at}")

    def test_garbageIsDamage(self) -> None:
        """Garbage after the last stream, or instead of the first, counts as damage."""
        for suffix, compress in COMPRESSORS.items():
            for octets in (b"no archive at all\n", NOISE, bytes(4096)):
                outcome = self.unpack(self.write(suffix, octets))
                self.assertIsInstance(outcome, Damaged, suffix)
            if suffix in (".gz", ".xz", ".zst"):
                outcome = self.unpack(self.write(suffix, compress(b"a\n") + b"garbage"))
                self.assertIsInstance(outcome, Damaged, suffix)

    def test_holeAfterContent(self) -> None:
        """
        An archive with a huge hole after its content is recognised as damaged quickly.
        """
        for suffix in COMPRESSORS:
            path = self.write(suffix, COMPRESSORS[suffix](b"a\n"))
            os.truncate(path, 2**40)
            self.now = path.stat().st_ctime + 3600
            self.assertIsInstance(self.unpack(path), Damaged, suffix)

    def test_unsupportedFormats(self) -> None:
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
            self.assertIsNone(headOf(str(path)))
        self.assertIsInstance(self.unpack(self.write("", b"plain\n")), Unsupported)

    def test_zstdWithoutLibrary(self) -> None:
        """If zstd's library is missing, the error names it and how to install it."""
        path = self.write(".zst", zstd(LINES))
        missing = {"zstandard": None, "compression.zstd": None, "compression": None}
        with mock.patch.dict(sys.modules, missing):
            outcome = self.unpack(path)
            self.assertIsNone(headOf(str(path)))
        assert isinstance(outcome, Unsupported)
        self.assertEqual(outcome.codec, "zstd")
        self.assertIn("pip install zstandard", outcome.reason)

    def test_zstdDictionary(self) -> None:
        """A zstd frame that needs a dictionary is reported as unsupported."""
        words = zstandard.train_dictionary(
            4096, [b"line %d of a log, of many alike\n" % n for n in range(1000)]
        )
        packed = zstandard.ZstdCompressor(dict_data=words).compress(LINES)
        outcome = self.unpack(self.write(".zst", packed))
        assert isinstance(outcome, Unsupported)
        self.assertIn("dictionary", outcome.reason)

    def test_notARegularFile(self) -> None:
        """A missing file, a link, a directory and a FIFO all count as missing."""
        (self.directory / "link.gz").symlink_to(self.write(".gz", gzip.compress(b"")))
        (self.directory / "directory.gz").mkdir()
        os.mkfifo(self.directory / "pipe.gz")
        for name in ("gone", "link", "directory", "pipe"):
            path = self.directory / f"{name}.gz"
            self.assertRaises(FileNotFoundError, self.unpack, path)
            self.assertRaises(FileNotFoundError, headOf, str(path))

    def test_stoppedHalfway(self) -> None:
        """
        Unpacking that is stopped halfway leaves no file or descriptor (checked by
        tearDown).
        """
        path = self.write(".gz", gzip.compress(LINES))
        for steps in range(4):
            work = unpacking(str(path), self.held)
            for _ in range(steps):
                next(work)
            work.close()


class BoundTests(ArchiveTestCase):
    """Archives whose content exceeds the available room."""

    def bombs(self) -> dict[str, bytes]:
        zeros = bytes(64 * 1024 * 1024)
        # zstd blocks that store 128 KiB in one octet each: 32 KiB would unpack to a
        # GiB.
        block = (128 * 1024 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
        return {
            ".gz": gzip.compress(zeros),
            ".bz2": bz2.compress(zeros),
            ".xz": lzma.compress(zeros),
            ".zst": b"\x28\xb5\x2f\xfd\x00\x60" + block * 8000,
        }

    def test_memoryPerPiece(self) -> None:
        """Content is unpacked in pieces of at most a MiB, whatever the format."""
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
            # xz uses 8 MiB for its window.
            self.assertLess(peak, 16 * 1024 * 1024, suffix)

    def test_contentLimit(self) -> None:
        """
        Content over the caller's limit is refused; content of exactly that size is
        accepted.
        """
        path = self.write(".gz", gzip.compress(LINES))
        self.assertEqual(self.content(path, octetsMax=len(LINES)), LINES)
        outcome = self.unpack(path, octetsMax=len(LINES) - 1)
        self.assertEqual(outcome, TooLarge(len(LINES) - 1))

    def test_reservedDiskSpace(self) -> None:
        """
        Unpacking keeps a reserve of disk space, even when others use up space in the
        meantime.
        """
        path = self.write(".gz", gzip.compress(bytes(40 * 1024 * 1024)))
        free = [RESERVE_OCTETS // 4096 + 512]
        disk = mock.Mock(f_frsize=4096)
        type(disk).f_bavail = mock.PropertyMock(side_effect=lambda: free[0])
        with mock.patch("os.statvfs", return_value=disk):
            outcome = self.unpack(path)
            assert isinstance(outcome, NoSpace)
            self.assertLessEqual(outcome.octets, 512 * 4096)
            self.assertEqual(outcome.reserve, RESERVE_OCTETS)
            # At first there is enough room; then another program uses it.
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

    def test_diskQuota(self) -> None:
        """
        A write that fails for lack of space, despite free space in statvfs (a quota),
        counts as no space.
        """
        path = self.write(".gz", gzip.compress(LINES))
        for number in (errno.ENOSPC, errno.EDQUOT):
            refused = OSError(number, os.strerror(number))
            with mock.patch("os.write", side_effect=refused):
                self.assertIsInstance(self.unpack(path), NoSpace)
        with mock.patch("os.write", side_effect=OSError(errno.EIO, "EIO")):
            self.assertRaises(OSError, self.unpack, path)

    def test_largeWindow(self) -> None:
        """
        An archive that needs more memory than its usual programs is reported as
        unsupported.
        """
        # RFC 8878 section 3.1.1.1.2: 2**41 octets.
        path = self.write(".zst", b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(100))
        outcome = self.unpack(path)
        assert isinstance(outcome, Unsupported)
        self.assertIn("--long", outcome.reason)
        # In xz: the size of the dictionary, and the header's checksum.
        packed = bytearray(lzma.compress(LINES))
        at = packed.index(b"\x21\x01") + 2
        packed[at] = 36
        end = 12 + (packed[12] + 1) * 4
        packed[end - 4 : end] = zlib.crc32(packed[12 : end - 4]).to_bytes(4, "little")
        outcome = self.unpack(self.write(".xz", bytes(packed)))
        assert isinstance(outcome, Unsupported), outcome
        self.assertIn("memory", outcome.reason)

    def test_noUnnamedFiles(self) -> None:
        """Unpacking also works on a file system without unnamed temporary files."""
        real = os.open

        def opened(path: Any, flags: int, *more: Any, **others: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "EOPNOTSUPP")
            return real(path, flags, *more, **others)

        path = self.write(".gz", gzip.compress(LINES))
        with mock.patch("os.open", opened):
            self.assertEqual(self.content(path), LINES)


class HeadTests(ArchiveTestCase):
    """The first octets of a content, read without unpacking everything."""

    def test_head(self) -> None:
        """A gzip file of any length, also of several members, has the content's head."""
        for parts in (
            [b""],
            [b"a\n"],
            [LINES],
            [NOISE],
            [LINES, NOISE],
            [b"a\n", LINES],
            [b"", LINES],
        ):
            packed = b"".join(map(gzip.compress, parts))
            path = self.write(".gz", packed)
            self.assertEqual(headOf(str(path)), b"".join(parts)[:HEAD_OCTETS])

    def test_otherFormats(self) -> None:
        """A file of another format has no head, whatever its name."""
        for suffix, compress in COMPRESSORS.items():
            if suffix != ".gz":
                for name in (suffix, ".gz"):
                    path = self.write(name, compress(LINES))
                    self.assertIsNone(headOf(str(path)), suffix)

    def test_truncatedAnywhere(self) -> None:
        """
        A truncated archive gives no head, or the right one, and never an exception.
        """
        packed = gzip.compress(LINES)
        for cut in range(0, len(packed), 97):
            found = headOf(str(self.write(".gz", packed[:cut])))
            if found is not None:
                self.assertEqual(found, LINES[: len(found)])


class WritersTests(ArchiveTestCase):
    """Detects whether a process can still write to a file."""

    def ask(self, path: Path) -> bool:
        with open(path, "rb") as file:
            writing = isOpenForWriting(file.fileno())
        if writing is None:
            raise SkipTest(
                "leases are not supported by this file system, or for this owner"
            )
        return writing

    def test_writersOnly(self) -> None:
        """
        Our own and other processes' writers are detected; readers are not counted.
        """
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

    def test_nobodyIsDisturbed(self) -> None:
        """
        After the check, a process that opens the file is not delayed, and no signal
        arrives.
        """
        path = self.write("", b"a\n")
        with open(path, "rb") as file:
            isOpenForWriting(file.fileno())
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            os.close(descriptor)

    def test_unknownWithoutLeases(self) -> None:
        """Where leases do not work, the answer is unknown."""
        for number in (errno.EACCES, errno.EINVAL, errno.ENOLCK):
            with mock.patch("fcntl.fcntl", side_effect=OSError(number, "no")):
                self.assertIsNone(isOpenForWriting(0))

    def test_archiveBeingWritten(self) -> None:
        """
        An archive that a process is writing is unfinished until its writer closes it.
        """
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

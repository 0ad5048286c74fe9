"""
Tests that the compiled L{decnet_syslog.hotpath} and its definition in Python give the
same octets.

Lines of records are compared by L{tests.records}: every test that renders records
checks both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from decnet_syslog import hotpath
from decnet_syslog.hotpath._functions import Renderer
from decnet_syslog.sending._encoding import encodeLines, encodePlain
from decnet_syslog.wire import _decoder as decoder
from decnet_syslog.wire._decoder import FrameDecoder
from decnet_syslog.wire._framing import FramingError, Lines, Oversize
from decnet_syslog.wire._provenance import Provenance
from decnet_syslog.wire._record import renderLines, renderRuns
from fuzz.hotpath import findCompiler, fuzz

from ..campaigns.pipeline import randomHistory, run
from ..wire.test_framing import divide
from ..wire.test_record_fast import COMMON, LINES, MARKING, WHO, almost, exactly

quick = settings(deadline=None, derandomize=True, database=None, max_examples=400)

# Even if the environment disables it for everything else.
COMPILED, _WHY = hotpath.load({})

# Arbitrary octets, but mostly those that the grammar uses.
octets = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.sampled_from(
            [*(bytes([o]) for o in b"0123456789 \n<>ALT\r\0\xff"), b"LAST\n", b"12 "]
        ),
        max_size=60,
    ).map(b"".join),
)
# Frames, and octets that may be between them.
between = st.sampled_from(
    [*(b"LAST\n", b"EMPTY 3\n", b"0 ", b"01 a", b"9999999 ", b"x", b" ", b"1", b"")]
)
frames = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=300).map(lambda m: b"%d %b" % (len(m), m)),
        between,
    ),
    max_size=12,
).map(b"".join)


@contextmanager
def using(way: hotpath.Hotpath | None) -> Iterator[None]:
    """Use one implementation for everything, however small the input."""
    with (
        mock.patch.object(hotpath, "compiled", way),
        mock.patch.object(decoder, "COMPILED_OCTETS_MIN", 1),
    ):
        yield


class CompiledTestCase(SynchronousTestCase):
    """Tests that need the compiled module."""

    def setUp(self) -> None:
        """Skip if it is missing."""
        if COMPILED is None:
            raise SkipTest(_WHY)
        self.compiled = COMPILED


class FramesTests(CompiledTestCase):
    """Encoding lines as frames."""

    @quick
    @given(st.lists(st.binary(max_size=40).map(lambda o: o.replace(b"\n", b""))))
    @example([b""])
    @example([b"a", b"", b"b"])
    @example([b"x" * 9, b"x" * 10, b"x" * 99_999])
    def test_sameFrames(self, many: list[bytes]) -> None:
        """
        Both implementations give the same frames, with the extension and without it.
        """
        block = b"".join([line + b"\n" for line in many])
        made = []
        for way in (self.compiled, None):
            with using(way):
                made.append((encodeLines(block), encodePlain(block)))
        self.assertEqual(*made)

    @quick
    @given(octets)
    def test_unfinishedLine(self, block: bytes) -> None:
        """A final line without LF is ignored."""
        with using(self.compiled):
            made = encodePlain(block)
        with using(None):
            self.assertEqual(made, encodePlain(block))
        _, end = self.compiled.frames(block)
        self.assertTrue(end == 0 or block[end - 1 : end] == b"\n")

    def test_longLines(self) -> None:
        """
        Lines that exceed the scratch buffer, and the shortest lines, which grow most,
        are encoded correctly.
        """
        for line in (b"x" * 300_000, b"x" * hotpath.SCRATCH_OCTETS, b"x"):
            block = (line + b"\n") * (400_000 // len(line))
            with using(None):
                wanted = encodeLines(block)
            self.assertEqual(self.compiled.frames(block), (wanted, len(block)))


class LinesTests(CompiledTestCase):
    """Decoding frames to lines."""

    def received(
        self, way: hotpath.Hotpath | None, receives: list[bytes], **options: int
    ) -> tuple[list[object], int, int, str]:
        """
        Messages and other items in order, octets held, empty frames, and the refusal.
        """
        decoder = FrameDecoder(**options)  # type: ignore[arg-type]
        seen: list[object] = []
        refused = ""
        with using(way):
            for receive in receives:
                data = receive
                while True:
                    blocks: list[Lines] = []
                    messages: list[bytes] = []
                    try:
                        found = decoder.decode(data, messages, blocks)
                    except FramingError as error:
                        found, refused = None, str(error)
                    for block in blocks:
                        self.assertEqual(len(block.messages), block.number)
                        seen += block.messages
                    seen += messages
                    if found is None:
                        break
                    seen.append(
                        found if isinstance(found, Oversize) else ("control", found)
                    )
                    data = b""
                if refused:
                    break
        return seen, 0 if refused else decoder.held, decoder.empty, refused

    def check(self, stream: bytes, at: list[int]) -> None:
        """Check that both implementations agree in every mode."""
        receives = divide(stream, at)
        for limit in (9, 40, 999, 1024 * 1024):
            for mode in ({}, {"control": True}, {"lenient": True}):
                options = {"messageOctetsMax": limit, **mode}
                self.assertEqual(
                    self.received(self.compiled, receives, **options),
                    self.received(None, receives, **options),
                )

    @quick
    @given(frames, st.lists(st.integers(0, 2000), max_size=6))
    @example(b"1 a3 a\nb10 0123456789LAST\n2 ab", [])
    @example(b"18446744073709551616 a", [])
    @example(b"18446744073709551617 ab", [])
    @example(b"1 a" + b"9" * 400 + b" ", [])
    def test_sameLines(self, stream: bytes, at: list[int]) -> None:
        """Both implementations agree on frames, and on octets that are not frames."""
        self.check(stream, at)

    @quick
    @given(octets, st.lists(st.integers(0, 80), max_size=3))
    def test_anyOctets(self, stream: bytes, at: list[int]) -> None:
        """Both implementations agree on octets that are hardly ever frames."""
        self.check(stream, at)

    def test_everyCut(self) -> None:
        """Both implementations agree on a receive that ends anywhere within a frame."""
        stream = b"3 abc12 abcdefghijklLAST\n1 x10 0123456789EMPTY 2\n2 yz"
        for cut in range(len(stream)):
            self.check(stream, [cut])

    def test_longFrames(self) -> None:
        """Frames that exceed the scratch buffer are decoded correctly."""
        message = b"x" * (2 * hotpath.SCRATCH_OCTETS)
        stream = b"%d %b1 y" % (len(message), message)
        made = self.compiled.lines(stream, 0, len(message))
        self.assertEqual(made, (message + b"\ny\n", 2, len(stream)))


class RecordsTests(CompiledTestCase):
    """Rendering lines as records."""

    def check(self, many: list[bytes], start: int | None, who: Provenance) -> None:
        """Check that the records equal the definition's."""
        block = b"".join([line + b"\n" for line in many])
        with using(self.compiled):
            made = b"".join(renderLines(block, who, start))
        self.assertEqual(made, exactly(many, start, who))

    def taken(self, many: list[bytes]) -> int:
        """The number of lines that compiled code renders."""
        block = b"".join([line + b"\n" for line in many])
        counts: list[int] = []
        records = Renderer.records

        def counted(
            renderer: Renderer, lines: bytes, at: int
        ) -> tuple[bytes, int, int]:
            made = records(renderer, lines, at)
            counts.append(made[1])
            return made

        with using(self.compiled), mock.patch.object(Renderer, "records", counted):
            b"".join(renderLines(block, WHO, 0))
        return sum(counts)

    def test_linesAreCompiled(self) -> None:
        """
        The lines of these tests are rendered by compiled code, so that two
        implementations are compared.
        """
        brackets = [line for line in COMMON if b"[::1]" in line]
        self.assertEqual(len(brackets), 1)
        others = [line for line in COMMON if line not in brackets]
        self.assertEqual(self.taken(others), len(others))

    @settings(deadline=None, derandomize=True, database=None, max_examples=1500)
    @given(
        st.lists(almost(), min_size=1, max_size=8), st.none() | st.integers(0, 2**62)
    )
    @example([LINES[0].replace(b"203.0.113.7:51234", b"1.2.3.4:")], 0)
    @example([LINES[0].replace(b"203.0.113.7:51234", b":22")], 0)
    @example([LINES[0].replace(b"203.0.113.7:51234", b"1.2.3.4:22:")], 0)
    @example([LINES[0].replace(b"203.0.113.7:51234", b"Unknown:22")], 0)
    @example([LINES[0].replace(b"203.0.113.7:51234", b"")], 2**63 - 400)
    @example([LINES[0] + b"   " + b'"' * 70 + b"  "], None)
    def test_slightlyDifferentLines(self, many: list[bytes], start: int | None) -> None:
        """
        Lines that differ slightly from common ones give equal records, in mixed
        batches.
        """
        many = [line.replace(b"\n", b"") for line in many]
        for who in (WHO, *MARKING):
            self.check(many, start, who)

    def test_validAndInvalidAddresses(self) -> None:
        """
        Addresses with groups, gaps, ports and brackets, valid and invalid, give equal
        records.
        """
        some = ["", ":", "::", ":::", "1", "a:", ":f", "1:2", "12345", "0:22", "g::"]
        some += ["1::2", "1::2:3", "1::99999", "::1", "1::", "1:::2", "1::2::3"]
        some += [":".join("12345678"[:count]) for count in range(6, 9)]
        some += [one + end for one in list(some) for end in ("::", ":9", ":80", "::8")]
        some += [f"[{one}]{port}" for one in list(some) for port in ("", ":22")]
        some += [
            "1.2.3.4",
            "1.2.3.4:",
            "::1.2.3.4",
            "::ffff:192.0.2.1:22",
            "fe80::%e:2",
        ]
        self.check(
            [LINES[0].replace(b"203.0.113.7:51234", one.encode()) for one in some],
            0,
            WHO,
        )

    @quick
    @given(st.lists(st.text("0123456789abcdefABCDEF:::.[]g", max_size=24)))
    def test_randomAddresses(self, some: list[str]) -> None:
        """Random strings of the characters that addresses consist of."""
        self.check(
            [LINES[0].replace(b"203.0.113.7:51234", one.encode()) for one in some],
            0,
            WHO,
        )

    def test_contradictingHostnames(self) -> None:
        """HOSTNAMEs that contradict the certificate are marked as by the definition."""
        names = ("a", "A", "b", "a.b", "a.c", "A.B.c", "-", "a.", ".a", ".", "ab")
        for worker in (*names, "\u00c4", "a.\u00c4", "\u0130.x", "K\u212a"):
            who = Provenance(worker, "f", "a", "2026-04-18T01:02:03Z", None, True)
            many = [LINES[0].replace(b"decky04", name.encode()) for name in names]
            self.check(many, 0, who)

    def test_validAndInvalidDays(self) -> None:
        """Every day of some years, and some invalid days, give equal records."""
        head, tail = LINES[0].split(b"2026-04-18")
        for year in (b"0000", b"0004", b"1900", b"2000", b"2023", b"2024", b"9999"):
            self.check(
                [
                    head + b"%b-%02d-%02d" % (year, month, day) + tail
                    for month in range(14)
                    for day in range(33)
                ],
                0,
                WHO,
            )

    def test_longLines(self) -> None:
        """
        Lines and members that exceed the scratch buffer, between common ones, give
        equal records.
        """
        for more in (10_000, hotpath.SCRATCH_OCTETS, 300_000):
            many = [LINES[0], LINES[0] + b"x" * more, LINES[0], LINES[0] + b'"' * more]
            self.check(many, 0, WHO)
        who = Provenance("w", "f", "a", WHO.receivedAt, "x" * 200_000, False)
        self.check([LINES[0]] * 3, 0, who)

    def test_uncommonLines(self) -> None:
        """
        Runs of lines with another shape are rendered by Python, and the order is kept.
        """
        many = [LINES[0], *[b"x%d" % n for n in range(700)], LINES[0], b"y", LINES[0]]
        self.check(many, 0, WHO)
        with mock.patch.object(
            hotpath.Renderer,
            "records",
            autospec=True,
            side_effect=hotpath.Renderer.records,
        ) as calls:
            self.check([b"x"] * 700, 0, WHO)
        self.assertLess(calls.call_count, 20)

    def test_inPython(self) -> None:
        """Without the compiled module the records are the same."""
        block = b"".join([line + b"\n" for line in COMMON])
        with using(None):
            made = b"".join(renderLines(block, WHO, 5))
        self.assertEqual(made, b"".join(renderRuns(COMMON, WHO, 5)))


class PipelineTests(CompiledTestCase):
    """Both ends, with the compiled module for every receive."""

    def test_randomHistories(self) -> None:
        """Random histories deliver every line once, however short the receives are."""
        decode = self.compiled.lines
        receives = 0

        def counted(frames: bytes, at: int, longest: int) -> tuple[bytes, int, int]:
            nonlocal receives
            receives += 1
            return decode(frames, at, longest)

        for seed in range(30):
            with (
                using(self.compiled),
                mock.patch.object(self.compiled, "lines", counted),
            ):
                run(Path(self.mktemp()).resolve(), randomHistory(seed))
        self.assertGreater(receives, 100)


class SanitizerTests(SynchronousTestCase):
    """The compiled functions with hostile octets, under the compiler's sanitizers."""

    def test_corpusUnderSanitizers(self) -> None:
        """
        The corpus and some mutations cause no error; C{python -m fuzz.hotpath} runs ten
        million.
        """
        compiler = findCompiler()
        if compiler is None:
            raise SkipTest("there is no C compiler with sanitizers")
        done = fuzz(compiler, 50_000, 2)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(done.stdout.startswith("50000 executions"), done.stdout)


class LoadTests(SynchronousTestCase):
    """Which implementation is used."""

    def test_disabledByEnvironment(self) -> None:
        """An environment variable disables the compiled module."""
        way, why = hotpath.load({"DECNET_SYSLOG_PURE_PYTHON": "1"})
        self.assertIsNone(way)
        self.assertIn("DECNET_SYSLOG_PURE_PYTHON", why)

    def test_missingModule(self) -> None:
        """If the module is missing, Python is used, and the reason is stated."""
        with mock.patch.dict(sys.modules, {"decnet_syslog.hotpath._hotpath": None}):
            way, why = hotpath.load({})
        self.assertIsNone(way)
        self.assertIn("in Python", why)

    def test_anotherVersion(self) -> None:
        """
        A module compiled from another source, left over from an older checkout, is not
        used.
        """
        module = mock.Mock()
        module.lib.DECNET_HOTPATH_VERSION = 0
        with mock.patch.dict(sys.modules, {"decnet_syslog.hotpath._hotpath": module}):
            way, why = hotpath.load({})
        self.assertIsNone(way)
        self.assertIn("another source", why)

    def test_versionNamesImplementation(self) -> None:
        """C{--version} names the implementation in use."""
        environment = {**os.environ, "DECNET_SYSLOG_PURE_PYTHON": "1"}
        said = subprocess.run(
            [
                sys.executable,
                "-c",
                "from decnet_syslog.cli import main; main()",
                "--version",
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        self.assertIn("in Python, as DECNET_SYSLOG_PURE_PYTHON says", said)

"""
Tests that the measured figures of the documentation are those of the committed results.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import docs, profile, rooms, sizing
from benchmarks.report import Spread, sideBySide
from decnet_syslog.errors import UserError


class PageTests(SynchronousTestCase):
    """The pages of the documentation with measured figures."""

    def setUp(self) -> None:
        self.results = docs.readResults()
        self.pages = {
            name: (docs.ROOT / name).read_text("utf-8") for name in docs.PAGES
        }

    def test_pagesAreWrittenFromResults(self) -> None:
        """
        Each page is what C{python -m benchmarks.docs} writes from the committed results.
        """
        for name, page in self.pages.items():
            written = docs.rendered(page, self.results)
            self.assertEqual(page, written, f"{name}: run python -m benchmarks.docs")

    def test_figureChangedByHand(self) -> None:
        """A figure that was changed by hand is replaced by the measured one."""
        page = self.pages["docs/proof.rst"]
        changed = page.replace(" runs: 0 lost", " runs: 1 lost")
        self.assertNotEqual(changed, page)
        self.assertEqual(docs.rendered(changed, self.results), page)

    def test_everyBlockIsShownOnce(self) -> None:
        """Each block is on one page, between a begin and an end of its name."""
        everything = "".join(self.pages.values())
        begun = re.findall(r"^\.\. begin: (\S+)$", everything, re.MULTILINE)
        ended = re.findall(r"^\.\. end: (\S+)$", everything, re.MULTILINE)
        self.assertEqual(begun, ended)
        self.assertEqual(sorted(begun), sorted(docs.BLOCKS))

    def test_everyResultIsShown(self) -> None:
        """Each committed result is shown in a block, with its command and its date."""
        everything = "".join(self.pages.values())
        for name, result in self.results.items():
            self.assertIn(f"    $ {result['command']}\n", everything, name)
            self.assertIn(docs.circumstances(result["machine"]), everything, name)


class RenderTests(SynchronousTestCase):
    """Blocks in a page."""

    page = "Before.\n\n.. begin: octets\n\nold\n\n.. end: octets\n\nAfter.\n"

    def test_onlyBlocksChange(self) -> None:
        """The text outside of the blocks stays as it is."""
        runs = [{"received": 10, "outputs": 10, "processes": 21, "disk": None}]
        result = {
            "command": "python -m benchmarks.octets",
            "machine": {"at": "2026-01-02T03:04:05Z", "cores": 2, "load_at_start": 0.5},
            "results": {"raw": runs},
        }
        written = docs.rendered(self.page, {"octets": result})
        self.assertTrue(written.startswith("Before.\n\n.. begin: octets\n\n::\n"))
        self.assertTrue(written.endswith("\n\n.. end: octets\n\nAfter.\n"))
        self.assertIn("    $ python -m benchmarks.octets\n", written)
        self.assertIn("2.10", written)
        self.assertIn("2026-01-02 03:04:05 UTC; 2 cores, load 0.5", written)
        self.assertNotIn("old", written)
        self.assertEqual(docs.rendered(written, {"octets": result}), written)

    def test_missingResult(self) -> None:
        """A block without a result reports that, instead of showing older figures."""
        written = docs.rendered(self.page, {})
        self.assertIn("No result of ``octets`` is recorded.", written)
        self.assertNotIn("old", written)

    def test_unknownBlock(self) -> None:
        """A block that no command writes is refused."""
        page = self.page.replace("octets", "octet")
        error = self.assertRaises(UserError, docs.rendered, page, {})
        self.assertIn("octet", str(error))


class TakeTests(SynchronousTestCase):
    """Results are taken into the documentation."""

    def setUp(self) -> None:
        self.source = Path(self.mktemp())
        self.source.mkdir()
        self.to = Path(self.mktemp())

    def test_withoutPlots(self) -> None:
        """A result is copied without the data of its plots."""
        runs = [{"elapsed_s": 1.5, "plot": [[0.1, 5]]}, {"elapsed_s": 1.6, "plot": {}}]
        content = {"command": "c", "results": {"runs": runs}}
        (self.source / "backlog.json").write_text(json.dumps(content))
        docs.take("backlog", self.source, self.to)
        taken = docs.readResults(self.to)["backlog"]["results"]
        self.assertEqual(taken, {"runs": [{"elapsed_s": 1.5}, {"elapsed_s": 1.6}]})

    def test_missingResultIsRefused(self) -> None:
        """A result that was never measured is refused, with the remedy."""
        error = self.assertRaises(UserError, docs.take, "backlog", self.source, self.to)
        self.assertIn("run the benchmark", str(error))


class TableTests(SynchronousTestCase):
    """Tables of measurements."""

    def test_spreadOfSeveralValues(self) -> None:
        """Several values are shown as median, least and greatest; a single one alone."""
        self.assertEqual(f"{Spread([3.0, 1.0, 2.0]):.1f}", "2.0 (1.0-3.0)")
        self.assertEqual(f"{Spread([2.0]):.1f}", "2.0")

    def test_sideBySide(self) -> None:
        """Each side has a column; a further row may lack the cell of a side."""
        text = sideBySide(
            "title",
            {"ours": [1.0], "theirs": [4.0]},
            {"seconds": (lambda run: run, ".0f")},
            {"times theirs": {"ours": "4.0"}},
        )
        lines = [line.split() for line in text.splitlines()]
        self.assertEqual(lines[0], ["title", "ours", "theirs"])
        self.assertEqual(lines[2:], [["seconds", "1", "4"], ["times", "theirs", "4.0"]])


class ProfileTests(SynchronousTestCase):
    """Samples are grouped by what ran."""

    def test_eachObjectBelongsToOnePart(self) -> None:
        """Each shared object belongs to one part; an unknown one to the others."""
        for path, part in {
            "[kernel.kallsyms]": "the kernel",
            "[virtio_blk]": "the kernel",
            "[vdso]": "libc, mostly copies",
            "/usr/lib/x86_64-linux-gnu/libc.so.6": "libc, mostly copies",
            "/lib/libpython3.11.so.1.0": "the Python interpreter",
            "/venv/bin/python3.11": "the Python interpreter",
            "/usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6": "SQLite",
            "/usr/lib/x86_64-linux-gnu/libz.so.1.2.13": "CRC-32",
            "/venv/lib/python3.11/site-packages/cryptography/_rust.abi3.so": "OpenSSL",
            "/venv/lib/python3.11/decnet_syslog/hotpath/_hotpath.abi3.so": (
                "the compiled module"
            ),
            "/usr/lib/libzstd.so.1": profile.OTHER,
        }.items():
            self.assertEqual(profile.partOf(path), part, path)


class SizingTests(SynchronousTestCase):
    """The load of fleets, from the costs that were measured."""

    def cells(self, text: str, workers: str) -> list[str]:
        row = next(line for line in text.splitlines() if line.startswith(f"{workers} "))
        return re.split(r"\s{2,}", row)

    def test_nextLargerCosts(self) -> None:
        """
        A fleet has the costs of the next larger measured number of connections, or of the
        largest.
        """
        results = {
            f"fanin-{count}": {
                "results": {
                    "connections": count,
                    "runs": [
                        {
                            "side": "decnet-syslog",
                            "line_cpu_us": microseconds,
                            "connection_kib": 102.4,
                            "connect_cpu_ms": 2.0,
                        }
                    ],
                }
            }
            for count, microseconds in ((500, 100.0), (2000, 200.0))
        }
        text = sizing.describeLoads(results)
        self.assertEqual(
            self.cells(text, "500"), ["500", "1.0", "6%", "102 MiB", "1.0 s of CPU"]
        )
        self.assertEqual(self.cells(text, "2,000")[2], "44%")
        self.assertEqual(self.cells(text, "5,000")[2], "60%")
        self.assertIn("100 (500), 200 (2,000) µs", sizing.describeCosts(results))

    def test_nothingMeasured(self) -> None:
        """Without results each cost is reported as not measured."""
        self.assertEqual(self.cells(sizing.describeLoads({}), "500")[2], sizing.NONE)
        costs = sizing.describeCosts({}).splitlines()[3:-1]
        self.assertEqual([line.endswith(sizing.NONE) for line in costs], [True] * 9)


class SizesTests(SynchronousTestCase):
    """The sizes of a tree."""

    def test_modulesAreCounted(self) -> None:
        """Modules are counted by package, and the longest module and class are named."""
        sizes = rooms.Sizes.of(
            iter(
                [
                    ("cli.py", "x = 1\n"),
                    ("wire/_a.py", "class A:\n    x = 1\n    y = 2\n"),
                    ("wire/_b.py", "\n" * (rooms.LINES_MAX + 1)),
                ]
            )
        )
        self.assertEqual(sizes.packages, {rooms.TOP: [1, 1], "wire": [2, 304]})
        self.assertEqual((sizes.modules, sizes.lines, sizes.statements), (3, 305, 4))
        self.assertEqual((sizes.longer, sizes.longest), (1, ("wire/_b.py", 301)))
        self.assertEqual(sizes.largest, ("wire/_a.py A", 3))

"""
Write the measured figures of the documentation.

    python -m benchmarks.docs                     write every figure again
    python -m benchmarks.docs bulk-raw octets     take these results from benchmarks/results/ first
    python -m benchmarks.docs --check             exit status 1 if a page would change

A benchmark or a campaign saves its result as C{benchmarks/results/NAME.json}. This command
copies results to C{docs/results/}, which is committed, and replaces the text of the pages between
the lines C{.. begin: NAME} and C{.. end: NAME}. L{BLOCKS} has a function for each name. Authors
write everything outside of these lines.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from decnet_syslog.errors import UserError
from tests.campaigns import diskmatrix, enumeration, logrotate_matrix, mutants
from tests.campaigns.siege import __main__ as siege
from tests.campaigns.siege import memory

from . import (
    backlog,
    bulk,
    fanin,
    goals,
    growth,
    idle,
    latency,
    micro,
    octets,
    physical,
    profile,
    rooms,
    sizing,
    storm,
    streams,
)
from .report import PLOTTED, RESULTS, rstTable, runProgram

__all__ = ["BLOCKS", "PAGES", "main", "readResults", "rendered", "take"]

ROOT = Path(__file__).parent.parent

TAKEN = ROOT / "docs" / "results"

PAGES = (
    "ARCHITECTURE.rst",
    "docs/fuzzing.rst",
    "docs/performance.rst",
    "docs/proof.rst",
    "docs/siege.rst",
    "docs/sizing.rst",
)

# The content of the files in docs/results/, by their names without .json.
Results = Mapping[str, Mapping[str, Any]]

_BLOCK = re.compile(
    r"^\.\. begin: (?P<name>\S+)\n.*?^\.\. end: (?P=name)\n", re.DOTALL | re.MULTILINE
)


def circumstances(on: Mapping[str, Any]) -> str:
    """
    When, where and with what a result was measured, in a paragraph.

    @param on: the member C{machine} of the result.
    """
    programs = {
        "Python": "python",
        "OpenSSL": "openssl",
        "SQLite": "sqlite",
        "rsyslog": "rsyslog",
    }
    versions = [f"{name} {on[key]}" for name, key in programs.items() if on.get(key)]
    at = [on["at"].replace("T", " ").replace("Z", " UTC")]
    if "commit" in on:
        at.append(f"commit {on['commit']}")
    machine = [f"{on['cores']} cores"]
    if "cpu" in on:
        machine[0] += f" ({on['cpu']})"
    if "kernel" in on:
        machine.append(f"Linux {on['kernel']}")
    if "load_at_start" in on:
        machine.append(f"load {on['load_at_start']} at the start")
    return "; ".join(", ".join(part) for part in (at, machine, versions) if part) + "."


def literal(text: str) -> str:
    """A text as a literal block."""
    return "::\n\n" + "".join(
        f"    {line}".rstrip() + "\n" for line in text.splitlines()
    )


def measured(
    name: str, describe: Callable[[Any], str], isRst: bool = False
) -> Callable[[Results], str]:
    """
    A block that shows one result: the command, its output, and the circumstances.

    @param describe: the text of the results; C{isRst}: it is reStructuredText.
    """

    def block(results: Results) -> str:
        if name not in results:
            return f"No result of ``{name}`` is recorded.\n"
        result = results[name]
        text = describe(result["results"])
        command = f"$ {result['command']}"
        shown = (
            f"{literal(command)}\n{text}" if isRst else literal(f"{command}\n\n{text}")
        )
        return f"{shown}\n{circumstances(result['machine'])}\n"

    return block


def _mutants(results: Results) -> str:
    """The mistakes, and the tests that find them: from the code."""
    rows = [
        (
            one.name,
            f"``{'.'.join(one.hunt.split('.')[-2:])}``"
            if "." in one.hunt
            else one.hunt,
        )
        for one in mutants.MUTANTS
    ]
    return rstTable(("mistake", "found by"), rows)


BLOCKS: Mapping[str, Callable[[Results], str]] = {
    **{
        f"bulk-{name}": measured(f"bulk-{name}", bulk.describe)
        for name in bulk.SCENARIOS
    },
    **{
        f"fanin-{count}": measured(f"fanin-{count}", fanin.describe)
        for count in fanin.CONNECTIONS
    },
    **{
        f"growth-{series}": measured(f"growth-{series}", growth.describe)
        for series in ("length", "workers")
    },
    "octets": measured("octets", octets.describe),
    "backlog": measured("backlog", backlog.describe),
    "streams": measured("streams", streams.describe),
    "storm": measured("storm", storm.describe),
    "latency": measured("latency", latency.describe),
    "idle": measured("idle", idle.describe),
    "physical": measured("physical", physical.describe),
    "micro": measured("micro", micro.describe),
    "profile": measured("profile", profile.describe),
    "profile-pure": measured("profile-pure", profile.describe),
    "goals": goals.describe,
    "sizing-costs": sizing.describeCosts,
    "sizing-loads": sizing.describeLoads,
    "rooms": measured("rooms", rooms.describe, isRst=True),
    "siege": measured("siege", siege.describe, isRst=True),
    "siege-memory": measured("siege-memory", memory.describe, isRst=True),
    "mutants": _mutants,
    "enumeration": measured("enumeration", enumeration.describe, isRst=True),
    "enumeration-segments": measured(
        "enumeration-segments", enumeration.describe, isRst=True
    ),
    "diskmatrix": measured("diskmatrix", diskmatrix.describe, isRst=True),
    "rotations": measured("rotations", logrotate_matrix.describe, isRst=True),
    # Results that are lines of text.
    **{
        name: measured(name, "\n".join)
        for name in (
            *(
                "fuzz",
                "fuzz-hotpath",
                "contents",
                "control",
                "cutting",
                "pipeline",
                "powercut",
                "prove",
            ),
            *("rotating", "steady-file", "steady-nats"),
        )
    },
}


def readResults(directory: Path = TAKEN) -> dict[str, dict[str, Any]]:
    """The committed results."""
    return {
        path.stem: json.loads(path.read_text("utf-8"))
        for path in sorted(directory.glob("*.json"))
    }


def rendered(page: str, results: Results) -> str:
    """
    A page with its blocks written again.

    @raise UserError: a block has a name that is not in L{BLOCKS}.
    """

    def block(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in BLOCKS:
            raise UserError(
                f"no command writes a block {name}: see BLOCKS in {__file__}"
            )
        return f".. begin: {name}\n\n{BLOCKS[name](results)}\n.. end: {name}\n"

    return _BLOCK.sub(block, page)


def _withoutPlots(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _withoutPlots(v) for k, v in value.items() if k != PLOTTED}
    if isinstance(value, list):
        return [_withoutPlots(one) for one in value]
    return value


def take(name: str, source: Path = RESULTS, to: Path = TAKEN) -> None:
    """
    Copy a result to the committed ones, without the data of its plots.

    @raise UserError: there is none of this name.
    """
    path = source / f"{name}.json"
    if not path.exists():
        raise UserError(
            f"{path} does not exist: run the benchmark that writes it first"
        )
    to.mkdir(exist_ok=True)
    content = _withoutPlots(json.loads(path.read_text("utf-8")))
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (to / path.name).write_text(f"{text}\n", "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", nargs="*", help="take it from benchmarks/results/")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    for name in options.result:
        take(name)
    results = readResults()
    changed = 0
    for page in PAGES:
        path = ROOT / page
        before = path.read_text("utf-8")
        after = rendered(before, results)
        if after != before:
            changed += 1
            print(f"{path} {'would change' if options.check else 'is written'}")
            if not options.check:
                path.write_text(after, "utf-8")
    return 1 if changed and options.check else 0


if __name__ == "__main__":
    runProgram(main)

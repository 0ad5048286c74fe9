"""
Run the compiled functions under the address sanitizer and the undefined behaviour
sanitizer.

    python -m fuzz.hotpath [--executions N] [--seed N]

C{fuzz/hotpath.c} calls them first with the corpus: the files of C{tests/corpus}, the
test vectors of C{tests/data}, and the seeds of the targets C{framing}, C{record} and
C{reception}, each also as a line and as a frame; then with random mutations of these.
It needs only a C compiler with sanitizers, gcc or clang: no fuzzer, no Python
extension.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.report import saveLines
from decnet_syslog.wire import encodeFrames

from .targets import load

__all__ = ["compileHarness", "findCompiler", "main"]

EXECUTIONS = 10_000_000

HERE = Path(__file__).parent
SOURCE = HERE.parent / "decnet_syslog" / "hotpath"
TESTS = HERE.parent / "tests"

_TARGETS = ("framing", "record", "reception")

_FLAGS = (
    *("-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Werror"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "-fno-omit-frame-pointer",
)


def findCompiler() -> str | None:
    """A C compiler that has both sanitizers, or C{None}."""
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path is None:
            continue
        with tempfile.TemporaryDirectory() as directory:
            program = Path(directory) / "program"
            source = program.with_suffix(".c")
            source.write_text("int main(void) { return 0; }\n", "ascii")
            command = [path, *_FLAGS, str(source), "-o", str(program)]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode == 0 and subprocess.run([program]).returncode == 0:
                return path
    return None


def compileHarness(compiler: str, program: Path) -> None:
    """Compile the functions and their harness into one program, with sanitizers."""
    sources = [HERE / "hotpath.c", SOURCE / "_hotpath.c"]
    subprocess.run(
        [compiler, *_FLAGS, f"-I{SOURCE}", *map(str, sources), "-o", str(program)],
        check=True,
    )


def _vectors() -> Iterator[bytes]:
    """The messages of the test vectors."""
    for path in sorted((TESTS / "data").glob("*.jsonl")):
        for text in path.read_text("utf-8").splitlines():
            for value in json.loads(text).values():
                if isinstance(value, str):
                    yield value.encode("utf-8", "surrogateescape")


def corpus() -> list[bytes]:
    """Every initial input."""
    found = [
        path.read_bytes() for path in (TESTS / "corpus").rglob("*") if path.is_file()
    ]
    found += _vectors()
    for name in _TARGETS:
        found += load(name).SEEDS
    # More parameters than a line may have.
    params = b"".join([b' n%d="v"' % number for number in range(40)])
    found.append(load("record").WORDS[0] + b' ip="192.0.2.1:22"' + params + b"] x")
    shaped = []
    for octets in found:
        messages = [line for line in octets.split(b"\n") if line]
        shaped += [
            b"".join([line + b"\n" for line in messages]),
            encodeFrames(messages),
        ]
    return [*found, *shaped]


def _write(path: Path, entries: Iterable[bytes]) -> None:
    path.write_bytes(b"".join([b"%d:%b" % (len(one), one) for one in entries]))


def fuzz(compiler: str, executions: int, seed: int) -> subprocess.CompletedProcess[str]:
    """
    Compile and run. The status is not 0 if there is a finding; stderr then has the
    report.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        directory = Path(name)
        program, inputs, words = [directory / n for n in ("program", "corpus", "words")]
        compileHarness(compiler, program)
        _write(inputs, corpus())
        # And a MSG-LEN that exceeds size_t.
        more = [b"18446744073709551617 a", b"36893488147419103234 ab"]
        _write(words, [*more, *[w for name in _TARGETS for w in load(name).WORDS]])
        return subprocess.run(
            [program, str(executions), str(seed), str(inputs), str(words)],
            capture_output=True,
            text=True,
            check=False,
        )


def main(arguments: Sequence[str]) -> int:
    """Run the functions. The exit status is 1 if there is a finding."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz.hotpath",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--executions", type=int, default=EXECUTIONS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    compiler = findCompiler()
    if compiler is None:
        print("no C compiler with -fsanitize=address,undefined: install gcc or clang")
        return 2
    done = fuzz(compiler, options.executions, options.seed)
    print(done.stderr, end="")
    said = done.stdout.splitlines()
    if done.returncode:
        print(*said, sep="\n")
        return 1
    saveLines("fuzz-hotpath", vars(options), [*said, "nothing was found"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

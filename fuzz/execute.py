"""
One target in its own process.

    python -m fuzz.execute TARGET EXECUTIONS DIRECTORY KEPT

DIRECTORY has the growing corpus, inputs that crashed, and the counts; KEPT is the
repository's corpus, which is only read.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.logger import globalLogBeginner

from .instrument import fuzz, instrumented
from .meter import Meter
from .targets import Target, load

__all__ = ["main"]

# The wall-clock limit for one input, in seconds: the machine may be busy. Inputs that
# are slow by themselves are found by the meter.
HANG_S = 60

# The memory limit that libFuzzer enforces, in MiB.
MEMORY_MIB = 2048


def dictionary(target: Target) -> str:
    """A target's words in libFuzzer's format."""
    escaped = ["".join([f"\\x{octet:02x}" for octet in word]) for word in target.WORDS]
    return "".join([f'"{word}"\n' for word in escaped])


def main(name: str, executions: int, directory: Path, kept: Path) -> None:
    """Run a target. Does not return."""
    # Otherwise Twisted would buffer all log events for a later observer.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    with instrumented("decnet_syslog"):
        target = load(name)
    corpus, seeds = directory / "corpus", directory / "seeds"
    for made in (corpus, seeds, kept):
        made.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.SEEDS):
        # Work that is done only on first use must not count as slow.
        target.run(seed)
        (seeds / f"{number}").write_bytes(seed)
    words = directory / "words"
    words.write_text(dictionary(target), "ascii")
    fuzz(
        Meter(directory / "meter", target.run, executions),
        [
            f"-atheris_runs={executions}",
            f"-max_len={target.OCTETS_MAX}",
            f"-timeout={HANG_S}",
            f"-rss_limit_mb={MEMORY_MIB}",
            f"-dict={words}",
            # Even an input that reaches no new code of ours: a library's code is not
            # observed.
            "-keep_seed=1",
            f"-artifact_prefix={directory}/",
            str(corpus),
            str(seeds),
            str(kept),
        ],
        target.OPAQUE,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))

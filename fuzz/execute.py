"""
One target in a process of its own.

    python -m fuzz.execute TARGET EXECUTIONS DIRECTORY KEPT

DIRECTORY has the corpus, which grows, what has crashed and the numbers; KEPT is the corpus
of the repository, which is only read.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.logger import globalLogBeginner

from .instrument import fuzz, instrumented
from .meter import Meter
from .targets import Target, load

__all__ = ["main"]

# A process that does not come back from one input, in seconds of the clock: the machine
# may be busy. What takes long by its own doing is found by the meter.
HANG_S = 60

# What libFuzzer may let the process have, in MiB.
MEMORY_MIB = 2048


def dictionary(target: Target) -> str:
    """A target's words as libFuzzer reads them."""
    escaped = ["".join([f"\\x{octet:02x}" for octet in word]) for word in target.WORDS]
    return "".join([f'"{word}"\n' for word in escaped])


def main(name: str, executions: int, directory: Path, kept: Path) -> None:
    """Run a target. Does not return."""
    # Or Twisted would keep everything that is logged for somebody who asks later.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    with instrumented("decnet_syslog"):
        target = load(name)
    corpus, seeds = directory / "corpus", directory / "seeds"
    for made in (corpus, seeds, kept):
        made.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.SEEDS):
        # What is only done at first use must not be counted as slow.
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
            # Also one that reaches no more of our code: a library's is not seen.
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

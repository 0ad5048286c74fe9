"""
The ways in which programs rotate a log: the real logrotate, and imitations of others.

A L{Rotator} rotates a log while its writer pauses. The L{Kind} says how the writer
continues: some programs keep the old file open and write a few more lines to it until a
signal reaches them; others switch to the new file immediately.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .peers import requirePeer

__all__ = ["KINDS", "Kind", "Rotator"]

# TAI64N: seconds since 1970, TAI, have bit 62 set; TAI was 10 s ahead of UTC then.
_TAI64 = 2**62 + 10


class Rotator:
    """
    One log that is rotated.

    @ivar log: the file that is written.
    @ivar follow: the value of C{--log-file}.
    @ivar options: more options for the forwarder.
    """

    def __init__(self, home: Path, kind: Kind) -> None:
        self.home = home
        self.kind = kind
        self.log = home / kind.name
        self.follow = home / (kind.follow or kind.name)
        self.options: list[str] = []
        self.number = 0
        if kind.link:
            # As in Kubernetes: the followed name is a link into another directory.
            self.follow = home / "containers" / "app_default_app-0.log"
            self.log.parent.mkdir(parents=True)
            self.follow.parent.mkdir()
            self.follow.symlink_to(self.log)
        if kind.name != kind.name.strip("/") or "/" in kind.name:
            self.log.parent.mkdir(parents=True, exist_ok=True)
        if kind.elsewhere:
            (home / kind.elsewhere).mkdir()
            self.options.append(f"--rotated={home / kind.elsewhere}/")

    def rotate(self) -> None:
        """Rotate once, while the writer pauses."""
        self.number += 1
        if self.kind.rotate is not None:
            self.kind.rotate(self)
        else:
            self._logrotate()

    def _logrotate(self) -> None:
        if "dateext" in self.kind.options and "dateformat" not in self.kind.options:
            self._nextDay()
        configuration = self.home / "logrotate.conf"
        configuration.write_text(
            f'"{self.log}" {{\n {self.kind.options}\n}}\n'.replace(";", "\n")
        )
        configuration.chmod(0o644)
        state = str(self.home / "logrotate.state")
        force = ["-f"] if self.kind.force else []
        done = subprocess.run(
            [requirePeer("logrotate"), *force, "-s", state, str(configuration)],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, ""), done

    def _nextDay(self) -> None:
        """
        Backdate today's rotated file: logrotate rotates to the same date only once.
        """
        today = time.strftime("%Y%m%d")
        for path in self.log.parent.glob(f"*{today}*"):
            day = f"2026{self.number // 28 + 1:02d}{self.number % 28 + 1:02d}"
            path.rename(path.with_name(path.name.replace(today, day)))


def _svlogd(rotator: Rotator) -> None:
    """As runit's svlogd and s6-log do: C{current} gets a TAI64N label and C{.s}."""
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 10**9)
    label = f"@{_TAI64 + seconds:016x}{rest:08x}.s"
    rotator.log.chmod(0o744)
    rotator.log.rename(rotator.log.with_name(label))


def _docker(rotator: Rotator) -> None:
    """As Docker's json-file does with C{max-file}: numbers move up."""
    _shift(rotator.log, "")


def _dockerCompressed(rotator: Rotator) -> None:
    """
    As Docker does with C{max-file} and C{compress}: the newest rotated file is also
    compressed in place.
    """
    _shift(rotator.log, ".gz")
    _pack(rotator.log.with_name(f"{rotator.log.name}.1"), "")


def _shift(log: Path, suffix: str) -> None:
    most = 20
    log.with_name(f"{log.name}.{most - 1}{suffix}").unlink(missing_ok=True)
    for number in range(most - 1, 1, -1):
        before = log.with_name(f"{log.name}.{number - 1}{suffix}")
        if before.exists():
            before.rename(log.with_name(f"{log.name}.{number}{suffix}"))
    log.rename(log.with_name(f"{log.name}.1"))


def _deleted(rotator: Rotator) -> None:
    """Delete the log once; then rotate by numbers."""
    if rotator.number == 1:
        rotator.log.unlink()
    else:
        _shift(rotator.log, "")


def _kubelet(rotator: Rotator) -> None:
    """
    As the kubelet does: the names end in a time; all but the newest are compressed.
    """
    for path in sorted(rotator.log.parent.glob(f"{rotator.log.name}.2*")):
        if path.suffix != ".gz":
            _pack(path, ".tmp")
    moment = time.strftime("%Y%m%d-%H%M%S")
    rotator.log.rename(rotator.log.with_name(f"{rotator.log.name}.{moment}"))


def _pack(path: Path, suffix: str) -> None:
    """Compress a file, under a temporary name until complete if the kind has one."""
    packed = path.with_name(path.name + suffix if suffix else f"{path.name}.gz")
    with open(path, "rb") as source, gzip.open(packed, "wb") as target:
        shutil.copyfileobj(source, target)
    if suffix:
        packed.rename(f"{path}.gz")
    os.unlink(path)


@dataclass(frozen=True)
class Kind:
    """
    A way to rotate.

    @ivar title: its name in the table.
    @ivar options: logrotate options, separated by semicolons.
    @ivar name: the name of the log.
    @ivar follow: the pattern for C{--log-file}, instead of the name.
    @ivar link: whether the forwarder follows a link in another directory.
    @ivar late: whether the writer adds lines to the old file after the rotation.
    @ivar keeps: whether the writer never opens another file (copytruncate).
    @ivar force: whether logrotate rotates regardless of size and age.
    @ivar elsewhere: the directory of the rotated files.
    @ivar pause: minimum time between rotations, in seconds, where names contain the
        second.
    @ivar banner: whether each file begins with the same 5 KiB.
    @ivar away: whether the master is down while rotation deletes files.
    @ivar lag: delay after which the writer adds lines to the first rotated file, in
        seconds: longer than an unwritten file is watched.
    @ivar rotate: the imitation of another program; C{None}: logrotate rotates.
    """

    title: str
    options: str = ""
    name: str = "app.log"
    follow: str = ""
    link: bool = False
    late: bool = True
    keeps: bool = False
    force: bool = True
    elsewhere: str = ""
    pause: float = 0.0
    banner: bool = False
    away: bool = False
    lag: float = 0.0
    rotate: Callable[[Rotator], None] | None = None


def _packed(program: str, suffix: str) -> str:
    path = f"/usr/bin/{program}"
    return f"compress; compresscmd {path}; compressext {suffix}"


_ALL = "rotate 30; create 0644"

KINDS = (
    Kind("default", _ALL),
    Kind("default, files that begin alike", _ALL, banner=True),
    Kind("dateext", f"{_ALL}; dateext"),
    Kind("dateext, %s", f"{_ALL}; dateext; dateformat -%Y%m%d-%s", pause=1.1),
    Kind("extension", f"{_ALL}; extension .log"),
    Kind("extension, dateext", f"{_ALL}; extension .log; dateext"),
    Kind("copytruncate", "rotate 30; copytruncate", late=False, keeps=True),
    Kind(
        "copytruncate, extension, *.log",
        "rotate 30; copytruncate; extension .log",
        follow="*.log",
        late=False,
        keeps=True,
    ),
    Kind("copy", "rotate 30; copy", late=False, keeps=True),
    Kind("olddir", f"{_ALL}; olddir old", elsewhere="old"),
    Kind(
        "olddir, compress", f"{_ALL}; olddir old; compress", late=False, elsewhere="old"
    ),
    Kind("compress, gzip", f"{_ALL}; compress", late=False),
    Kind("compress, xz", f"{_ALL}; {_packed('xz', '.xz')}", late=False),
    Kind("compress, zstd", f"{_ALL}; {_packed('zstd', '.zst')}", late=False),
    Kind("compress, bzip2", f"{_ALL}; {_packed('bzip2', '.bz2')}", late=False),
    Kind("compress, delaycompress", f"{_ALL}; compress; delaycompress"),
    Kind("nocreate", "rotate 30; nocreate"),
    Kind("start 0", f"{_ALL}; start 0"),
    Kind("maxsize", f"{_ALL}; monthly; maxsize 4k", force=False),
    Kind("rotate 1, master away", "rotate 1; create 0644", late=False, away=True),
    Kind("default, late writer", _ALL, lag=12.0),
    Kind("deleted, late writer", late=False, lag=12.0, rotate=_deleted),
    Kind("svlogd", name="main/current", late=False, rotate=_svlogd),
    Kind("Docker json-file", name="0a1b-json.log", late=False, rotate=_docker),
    Kind(
        "Docker json-file, compress",
        name="0a1b-json.log",
        late=False,
        rotate=_dockerCompressed,
    ),
    Kind(
        "kubelet, through a link",
        name="pods/app/0.log",
        link=True,
        pause=1.1,
        rotate=_kubelet,
    ),
)

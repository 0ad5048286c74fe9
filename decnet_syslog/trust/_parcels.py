"""
Bundles on their way to a worker: a directory, or one tar file.

A bundle that answers a request has no private key; the other two files are always there. A tar file
is hostile input as any other: only the three files are taken from it, each once and bounded, and
nothing is extracted to a disk here.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path, PurePosixPath

from ..errors import UserError
from ._bundles import BUNDLE_FILES
from ._files import readBounded

__all__ = ["FILE_OCTETS_MAX", "makeTar", "readInput", "readParcel"]

# A chain of a few certificates; a bundle that is longer is something else.
FILE_OCTETS_MAX = 64 * 1024
PARCEL_OCTETS_MAX = 256 * 1024
MEMBERS_MAX = 16

_KEY = "worker.key"


def readInput(name: str, octetsMax: int) -> bytes:
    """
    The octets of a file, or of the standard input if the name is C{-}.

    @raise UserError: there is no such file, it cannot be read, or it is longer.
    """
    if name == "-":
        octets = sys.stdin.buffer.read(octetsMax + 1)
        if len(octets) > octetsMax:
            raise UserError(f"standard input: it is longer than {octetsMax} octets")
        return octets
    try:
        read = readBounded(Path(name), octetsMax)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    if read is None:
        raise UserError(f"{name}: there is no such file")
    return read


def readParcel(name: str) -> dict[str, bytes]:
    """
    The files of a bundle.

    @param name: a directory, a tar file, or C{-} for a tar file on the standard input.
    @return: the octets of C{ca.crt} and C{worker.crt}, and of C{worker.key} if it is there.
    @raise UserError: it is no bundle.
    """
    path = Path(name)
    if name != "-" and path.is_dir():
        files = {}
        for file in BUNDLE_FILES:
            if file != _KEY and not (path / file).exists():
                raise UserError(
                    f"{name}: {file} is missing: give the whole directory that"
                    ' "decnet-syslog enroll --out" wrote, or its tar file'
                )
            if (path / file).exists() or file != _KEY:
                files[file] = readInput(str(path / file), FILE_OCTETS_MAX)
        return files
    what = "standard input" if name == "-" else name
    return _untar(readInput(name, PARCEL_OCTETS_MAX), what)


def _untar(octets: bytes, what: str) -> dict[str, bytes]:
    """The files of a tar file, by their names in the bundle."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(octets), mode="r:") as archive:
            for number, member in enumerate(archive):
                name = str(PurePosixPath(member.name))
                if number >= MEMBERS_MAX or (
                    not member.isdir() and name not in BUNDLE_FILES
                ):
                    raise UserError(
                        f"{what}: it has more than the files of a bundle"
                        f" ({', '.join(BUNDLE_FILES)})"
                    )
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise UserError(f"{what}: {name} is not a regular file in it")
                if name in files:
                    raise UserError(f"{what}: it has {name} twice")
                if member.size > FILE_OCTETS_MAX:
                    raise UserError(
                        f"{what}: {name} is longer than {FILE_OCTETS_MAX} octets"
                    )
                content = archive.extractfile(member)
                assert content is not None
                files[name] = content.read(FILE_OCTETS_MAX)
    except (tarfile.TarError, ValueError, OverflowError, EOFError):
        raise UserError(
            f"{what}: it is neither a bundle's directory nor an uncompressed tar file of a"
            " bundle"
        ) from None
    for file in BUNDLE_FILES:
        if file not in files and file != _KEY:
            raise UserError(f"{what}: {file} is missing; copy the whole bundle again")
    return files


def makeTar(files: dict[str, bytes]) -> bytes:
    """A tar file of a bundle; the key is for its owner only."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, octets in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(octets)
            member.mode = 0o600 if name == _KEY else 0o644
            archive.addfile(member, io.BytesIO(octets))
    return made.getvalue()

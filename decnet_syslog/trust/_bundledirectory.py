"""
The directory of a bundle: three files that change in one step.

The three files of a bundle change together or not at all. A forwarder that starts at any moment
finds either the old bundle or the new one, even if the installation was killed. One rename cannot
replace three files, so each file is a symbolic link that leads through another link::

    worker.key -> .bundle/worker.key
    .bundle    -> .bundle-5e10c3...      a directory with the three files

Invariants after each write, because the process may die right there:

* C{.bundle-...} is complete, checked and on disk before any link leads to it;
* while the plain files of an older installation are replaced by links, the links lead to copies
  of these files: each state is the old bundle;
* the rename of C{.bundle} is the one step from the old bundle to the new one;
* the old directory and the key of the request are removed after that rename is on disk. A
  later run removes what an earlier one left.

A forwarder that reads the files at the very moment of that rename can see both bundles. It refuses
the mixture and reads again.

Set aside: to replace the directory itself (the forwarder's state may be in it); to write three
files one by one (a forwarder that starts in between refuses them, in each order).
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from ..durable import syncDirectory
from ..errors import UserError
from ._bundles import BUNDLE_FILES
from ._parcels import FILE_OCTETS_MAX

__all__ = ["BundleDirectory"]

_LINK = ".bundle"
_TARGET = re.compile(r"\.bundle-[0-9a-f]{16}")
_MODES = {"worker.key": 0o600, "worker.crt": 0o644, "ca.crt": 0o644}


class BundleDirectory:
    """
    A directory with a bundle. The caller holds its lock while it changes anything.

    @ivar path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Refuse a directory in which every user could put another key."""
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & stat.S_IWOTH:
            raise UserError(
                f"every user may write in {self.path} (mode {mode:04o}): chmod o-w {self.path}"
            )

    def read(self, file: str) -> bytes | None:
        """
        Read a file of the bundle, or of a request.

        Root may run this where another user owns the directory. So only our own links are followed,
        and a file that the owner of the directory could not read is not read for it.

        @return: C{None} if there is no such file.
        @raise UserError: it is not the directory's own, or others can read a key.
        """
        path = self.path / file
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        place = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            owner = os.fstat(place).st_uid
            if self._isLink(file):
                target = self._target()
                if target is None:
                    return None
                if not _TARGET.fullmatch(target):
                    raise UserError(
                        f"{self.path / _LINK} is not a link of ours: remove it, and copy the bundle"
                        " there again"
                    )
                inner = os.open(target, flags | os.O_DIRECTORY, dir_fd=place)
                os.close(place)
                place = inner
            descriptor = os.open(file, flags, dir_fd=place)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise UserError(
                f"{path} is a symbolic link, and not one of ours: put the file itself there"
            ) from None
        finally:
            os.close(place)
        with os.fdopen(descriptor, "rb") as reader:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{path} is not a regular file: remove it")
            if file.endswith(".key") and status.st_mode & 0o077:
                raise UserError(
                    f"{path}: others can read this key; chmod 600 {path}, and replace the key"
                    " if they may have read it"
                )
            if status.st_uid != owner and not status.st_mode & stat.S_IROTH:
                raise UserError(
                    f"{path} does not belong to the owner of {self.path}: chown it"
                )
            octets = reader.read(FILE_OCTETS_MAX + 1)
        if len(octets) > FILE_OCTETS_MAX:
            raise UserError(
                f"{path} is longer than {FILE_OCTETS_MAX} octets: remove it"
            )
        return octets

    def stage(self, files: Mapping[str, bytes]) -> Path:
        """Write files to a directory of their own; on disk when this returns."""
        made = self.path / f"{_LINK}-{secrets.token_hex(8)}"
        try:
            self._write(made, files)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        return made

    def _write(self, made: Path, files: Mapping[str, bytes]) -> None:
        owner = self.path.stat()
        os.mkdir(made, 0o700)
        # By its descriptor: root may run this in a directory of another user.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        place = os.open(made, flags)
        try:
            for file, octets in files.items():
                flags = (
                    os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                )
                opened = os.open(file, flags, 0o600, dir_fd=place)
                with os.fdopen(opened, "wb") as writer:
                    os.fchmod(writer.fileno(), _MODES[file])
                    if os.geteuid() == 0:
                        os.fchown(writer.fileno(), owner.st_uid, owner.st_gid)
                    writer.write(octets)
                    writer.flush()
                    os.fsync(writer.fileno())
            if os.geteuid() == 0:
                os.fchown(place, owner.st_uid, owner.st_gid)
            # Readers of the certificates in the directory may read them here.
            os.fchmod(place, stat.S_IMODE(owner.st_mode) & 0o755 | 0o700)
            os.fsync(place)
        finally:
            os.close(place)
        syncDirectory(self.path)

    def isInstalled(self, files: Mapping[str, bytes]) -> bool:
        """Whether these files are in place already, with their modes."""
        return all(
            self._isLink(file)
            and self.read(file) == octets
            and stat.S_IMODE((self.path / file).stat().st_mode) == _MODES[file]
            for file, octets in files.items()
        )

    def use(self, made: Path) -> None:
        """Go over to a bundle that was L{stage}d; on disk when this returns."""
        self._adopt()
        self._point(_LINK, made.name)

    def isUsed(self, made: Path) -> bool:
        """Whether a bundle that was L{stage}d is the one in place."""
        return self._target() == made.name

    def removeOthers(self) -> None:
        """Remove the bundles that are not in place."""
        for path in self.path.glob(f"{_LINK}-*"):
            if not self.isUsed(path) and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)

    def _adopt(self) -> None:
        """Replace the plain files of an older installation by links to their copies."""
        plain = [file for file in BUNDLE_FILES if not self._isLink(file)]
        found = {file: self.read(file) for file in BUNDLE_FILES if plain}
        there = {file: octets for file, octets in found.items() if octets is not None}
        if there:
            self._point(_LINK, self.stage(there).name)
        for file in plain:
            self._point(file, f"{_LINK}/{file}")

    def _point(self, name: str, target: str) -> None:
        """Make a name a symbolic link, atomically; on disk when this returns."""
        beside = self.path / f".{name.lstrip('.')}.new"
        beside.unlink(missing_ok=True)
        os.symlink(target, beside)
        if os.geteuid() == 0:
            owner = self.path.stat()
            os.lchown(beside, owner.st_uid, owner.st_gid)
        os.replace(beside, self.path / name)
        syncDirectory(self.path)

    def _target(self) -> str | None:
        try:
            return os.readlink(self.path / _LINK)
        except OSError:
            return None

    def _isLink(self, file: str) -> bool:
        try:
            return os.readlink(self.path / file) == f"{_LINK}/{file}"
        except OSError:
            return False

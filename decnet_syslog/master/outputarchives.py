"""Seam: names of rotated copies, and archives, until decnet_syslog.files has them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
from typing import BinaryIO, cast

__all__ = ["isRotatedName", "openArchive"]

_PACKED = r"(?:\.(?:gz|xz|bz2|zst))?"
_DATE = r"[0-9][0-9A-Za-z:_-]*"


def isRotatedName(name: str, base: str) -> bool:
    stem, ext = os.path.splitext(base)
    patterns = [
        rf"{re.escape(base)}[.-]{_DATE}{_PACKED}",
        rf"{re.escape(base)}\.old{_PACKED}",
    ]
    if ext and stem:
        patterns.append(rf"{re.escape(stem)}[.-]{_DATE}{re.escape(ext)}{_PACKED}")
    return any(re.fullmatch(p, name) for p in patterns)


class _Opener:
    def knows(self, path: str) -> bool:
        return path.endswith((".gz", ".xz", ".bz2", ".zst"))

    def __call__(self, path: str, descriptor: int) -> BinaryIO:
        raw = os.fdopen(os.dup(descriptor), "rb")
        raw.seek(0)
        try:
            if path.endswith(".gz"):
                return cast(BinaryIO, _Safe(cast(BinaryIO, gzip.GzipFile(fileobj=raw))))
            if path.endswith(".bz2"):
                return cast(BinaryIO, _Safe(cast(BinaryIO, bz2.BZ2File(raw))))
            if path.endswith(".xz"):
                return cast(BinaryIO, _Safe(cast(BinaryIO, lzma.LZMAFile(raw))))
        except Exception as error:
            raise OSError(str(error)) from None
        raise OSError("zstd")


class _Safe(io.RawIOBase):
    def __init__(self, inner: BinaryIO) -> None:
        self._inner = inner

    def read(self, count: int = -1) -> bytes:
        try:
            return self._inner.read(count)
        except (EOFError, lzma.LZMAError, ValueError, OSError) as error:
            raise OSError(str(error)) from None


openArchive = _Opener()

"""
The list of issued certificates: C{enrolled.jsonl}, a line of JSON for each.

The keys are name, role, fingerprint, serial, not_after and authority: the L{keyId} of the signer.
Functions that write expect the caller to hold the lock of the directory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography import x509

from ..errors import UserError
from ._files import replaceFile
from ._names import fingerprint

__all__ = ["addEnrolled", "readEnrolled", "rewriteEnrolled"]

ENROLLED_FILE = "enrolled.jsonl"


def readEnrolled(directory: Path, first: str) -> list[dict[str, str]]:
    """
    The entries, oldest first.

    @param first: the signer of the lines from older versions, which wrote no authority.
    @raise UserError: the file is not a list of entries.
    """
    path = directory / ENROLLED_FILE
    if not path.exists():
        return []
    try:
        lines = path.read_text("utf-8").splitlines()
        return [{"authority": first, **json.loads(line)} for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is not a list of issued certificates ({error}): repair it, or restore it"
            " from a backup"
        ) from None


def addEnrolled(
    directory: Path, name: str, certificate: x509.Certificate, role: str, signer: str
) -> None:
    """Append an entry; on disk when this returns."""
    entry = {
        "name": name,
        "role": role,
        "fingerprint": fingerprint(certificate),
        "serial": f"{certificate.serial_number:x}",
        "not_after": certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "authority": signer,
    }
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(directory / ENROLLED_FILE, flags, 0o644)
    size = os.fstat(descriptor).st_size
    try:
        with os.fdopen(os.dup(descriptor), "ab") as file:
            file.write(json.dumps(entry).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # A part of a line would make the list unreadable.
        os.ftruncate(descriptor, size)
        raise UserError(
            f"cannot write {directory / ENROLLED_FILE}: {error.strerror}"
        ) from None
    finally:
        os.close(descriptor)


def rewriteEnrolled(directory: Path, entries: Iterable[Mapping[str, str]]) -> None:
    """Replace the file, if there is one."""
    path = directory / ENROLLED_FILE
    if path.exists():
        lines = [json.dumps(entry) + "\n" for entry in entries]
        replaceFile(path, "".join(lines).encode("ascii"))

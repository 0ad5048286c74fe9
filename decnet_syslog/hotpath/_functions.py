"""The functions of the compiled module, as Python calls them."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from typing import Any

__all__ = ["SCRATCH_OCTETS", "Hotpath", "Renderer", "compiled", "description", "load"]

# Environment: anything but nothing turns the compiled way off.
PURE_PYTHON = "DECNET_SYSLOG_PURE_PYTHON"

# Of the module that belongs to this source.
_VERSION = 2

# What one call may make, unless it must be more. It stays in the processor's cache, with
# what it is made of.
SCRATCH_OCTETS = 128 * 1024

# A frame of one octet, the shortest, takes half as much again as its line. Behind all frames
# there has to be room for the longest MSG-LEN (DIGITS_MAX).
_FRAMES_MORE = 32


class _Scratch(threading.local):
    """What one thread needs for its calls. Others run while it is in one."""

    def __init__(self, ffi: Any) -> None:
        self.done = ffi.new("decnet_progress *")
        self.octets = ffi.new("unsigned char[]", SCRATCH_OCTETS)


class Hotpath:
    """
    The functions of the compiled module.

    Each takes octets, where to begin in them, and makes what it can of what is there.
    """

    def __init__(self, module: Any) -> None:
        """
        @raise ImportError: the module was compiled from another source.
        """
        self._lib, self._ffi = module.lib, module.ffi
        if self._lib.DECNET_HOTPATH_VERSION != _VERSION:
            raise ImportError("compiled from another source")
        # Without filling it with zeros.
        self._new = self._ffi.new_allocator(should_clear_after_alloc=False)
        self._scratch = _Scratch(self._ffi)

    def _room(self, octets: int) -> tuple[Any, int]:
        """Where so many octets can be made."""
        if octets <= SCRATCH_OCTETS:
            return self._scratch.octets, SCRATCH_OCTETS
        return self._new("unsigned char[]", octets), octets

    def frames(self, lines: bytes, at: int = 0) -> tuple[bytes, int]:
        """
        Lines as frames.

        @param lines: each with its LF.
        @return: the frames, and where they end in C{lines}: in front of an empty line.
        """
        size = len(lines) - at
        room, roomOctets = self._room(size + size // 2 + _FRAMES_MORE)
        done = self._scratch.done
        begin = self._ffi.from_buffer(lines) + at
        self._lib.decnet_frames_of_lines(begin, size, room, roomOctets, done)
        return self._ffi.buffer(room, done.made)[:], at + done.taken

    def lines(self, frames: bytes, at: int, longest: int) -> tuple[bytes, int, int]:
        """
        Frames as lines.

        @param longest: octets of the longest message.
        @return: the messages, each with an LF; how many; and where they end in C{frames}: in
            front of a control line, a message with an LF in it, or what is no common frame.
        """
        size = len(frames) - at
        room, roomOctets = self._room(size)
        done = self._scratch.done
        begin = self._ffi.from_buffer(frames) + at
        self._lib.decnet_lines_of_frames(begin, size, longest, room, roomOctets, done)
        return self._ffi.buffer(room, done.made)[:], done.lines, at + done.taken

    def renderer(
        self,
        before: bytes,
        after: bytes,
        marked: bytes,
        worker: bytes | None,
        start: int | None,
    ) -> Renderer:
        """
        What makes records of the lines of one block.

        @param before: octets of JSON from the end of C{raw_line} to the offset.
        @param after: from there to the end, with the LF.
        @param marked: instead of C{after}, if the HOSTNAME is not the worker's.
        @param worker: whose HOSTNAME it should be, in lower case; C{None}: nothing is marked.
        @param start: offset of the block in the worker's file; C{None}: it came from none.
        """
        views = [self._ffi.from_buffer(octets) for octets in (before, after, marked)]
        members = self._ffi.new("decnet_members *")
        members.before, members.after, members.marked = views
        members.before_size, members.after_size = len(before), len(after)
        members.marked_size = len(marked)
        if worker is not None:
            views.append(self._ffi.from_buffer(worker))
            members.worker, members.worker_size = views[-1], len(worker)
        if start is not None:
            members.has_offset = 1
        return Renderer(self._lib, self._ffi, self._scratch, members, views, start or 0)


class Renderer:
    """Makes records of the lines of one block. See L{Hotpath.renderer}."""

    def __init__(
        self,
        lib: Any,
        ffi: Any,
        scratch: _Scratch,
        members: Any,
        views: list[Any],
        start: int,
    ) -> None:
        self._lib, self._ffi, self._scratch = lib, ffi, scratch
        # The views keep alive what the members point to.
        self._members, self._views = members, views
        self._start = start

    def records(self, lines: bytes, at: int) -> tuple[bytes, int, int]:
        """
        Lines as records, at most L{SCRATCH_OCTETS} of them.

        @param lines: the block: lines, each with its LF.
        @return: the records; how many; and where they end in C{lines}: in front of one that is
            not of the common shape, or has no room.
        """
        scratch = self._scratch
        done = scratch.done
        self._members.offset = self._start + at
        self._lib.decnet_records_of_lines(
            self._ffi.from_buffer(lines) + at,
            len(lines) - at,
            self._members,
            scratch.octets,
            SCRATCH_OCTETS,
            done,
        )
        return (
            self._ffi.buffer(scratch.octets, done.made)[:],
            done.lines,
            at + done.taken,
        )


def load(environment: Mapping[str, str]) -> tuple[Hotpath | None, str]:
    """The compiled way, if it is there and not turned off, and a description for people."""
    if environment.get(PURE_PYTHON):
        return None, f"in Python, as {PURE_PYTHON} says"
    try:
        module = importlib.import_module("decnet_syslog.hotpath._hotpath")
        return Hotpath(module), "compiled"
    except ImportError as error:
        # Also one for another machine, or of another version.
        missing = isinstance(error, ModuleNotFoundError)
        why = "no compiler was there at installation" if missing else str(error)
        return None, f"in Python, which is slower: {why}"


compiled, description = load(os.environ)

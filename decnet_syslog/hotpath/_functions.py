"""Python methods for the functions of the compiled module."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..boundaries import Foreign

if TYPE_CHECKING:
    from cffi import FFI

__all__ = ["SCRATCH_OCTETS", "Hotpath", "Renderer", "compiled", "description", "load"]

# Environment variable: any value but an empty one disables the compiled module.
PURE_PYTHON = "DECNET_SYSLOG_PURE_PYTHON"

_MODULE = "decnet_syslog.hotpath._hotpath"

# DECNET_HOTPATH_VERSION of the module that this source expects.
_VERSION = 2

# The room for the output of one call, in octets. Larger outputs get room of their own. This
# much stays in the processor's cache, together with the input.
SCRATCH_OCTETS = 128 * 1024

# The frame of a line of one octet is half as long again as the line, others are shorter. The
# function also needs room for the longest MSG-LEN (DIGITS_MAX) after the last frame.
_FRAMES_MORE = 32


class _Scratch(threading.local):
    """The buffers of a thread: several threads can be in a call at the same time."""

    def __init__(self, ffi: FFI) -> None:
        self.done = ffi.new("decnet_progress *")
        self.octets = ffi.new("unsigned char[]", SCRATCH_OCTETS)


class Hotpath:
    """The functions of the compiled module, each for one block of octets."""

    def __init__(self, module: Foreign) -> None:
        """
        @raise ImportError: the module was compiled from another source.
        """
        self._lib, self._ffi = module.lib, module.ffi
        if self._lib.DECNET_HOTPATH_VERSION != _VERSION:
            raise ImportError("compiled from another source")
        # Does not clear the memory.
        self._new = self._ffi.new_allocator(should_clear_after_alloc=False)
        self._scratch = _Scratch(self._ffi)

    def _room(self, octets: int) -> tuple[Foreign, int]:
        """A buffer for at least this many octets, and its size."""
        if octets <= SCRATCH_OCTETS:
            return self._scratch.octets, SCRATCH_OCTETS
        return self._new("unsigned char[]", octets), octets

    def frames(self, lines: bytes, at: int = 0) -> tuple[bytes, int]:
        """
        Encode lines as frames, up to the first empty line.

        @param lines: the lines, each with its LF.
        @param at: where to begin.
        @return: the frames, and the offset in C{lines} of the first line that is not encoded.
        """
        size = len(lines) - at
        room, roomOctets = self._room(size + size // 2 + _FRAMES_MORE)
        done = self._scratch.done
        begin = self._ffi.from_buffer(lines) + at
        self._lib.decnet_frames_of_lines(begin, size, room, roomOctets, done)
        return self._ffi.buffer(room, done.made)[:], at + done.taken

    def lines(self, frames: bytes, at: int, longest: int) -> tuple[bytes, int, int]:
        """
        Decode frames to lines, up to the first one that is incomplete or over the limit, that
        has an LF in its message, or that is not a frame.

        @param at: where to begin.
        @param longest: the limit on a message, in octets.
        @return: the messages, each followed by an LF; their number; the offset in C{frames} of
            the first octet that is not decoded.
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
        Make a renderer for the lines of a block.

        @param before: the JSON of each record from the end of C{raw_line} to the offset.
        @param after: the JSON from there to the end, with the LF.
        @param marked: replaces C{after} if the HOSTNAME is not the worker's.
        @param worker: the worker's name in lower case; C{None} if HOSTNAMEs are not compared.
        @param start: the block's offset in the worker's file; C{None} if it came from no file.
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
    """Renders the lines of a block as records. See L{Hotpath.renderer}."""

    def __init__(
        self,
        lib: Foreign,
        ffi: FFI,
        scratch: _Scratch,
        members: Foreign,
        views: list[Foreign],
        start: int,
    ) -> None:
        self._lib, self._ffi, self._scratch = lib, ffi, scratch
        # The members point into the views and do not keep them alive.
        self._members, self._views = members, views
        self._start = start

    def records(self, lines: bytes, at: int) -> tuple[bytes, int, int]:
        """
        Render lines as records, up to L{SCRATCH_OCTETS} octets of records, or to the first
        line that does not have the common shape.

        @param lines: the block: lines, each with its LF.
        @param at: where to begin.
        @return: the records; their number; the offset in C{lines} of the first line that is not
            rendered.
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
    """The functions, or C{None} if they are missing or disabled; and a description for people."""
    if environment.get(PURE_PYTHON):
        return None, f"in Python, as {PURE_PYTHON} says"
    try:
        module = importlib.import_module(_MODULE)
        return Hotpath(module), "compiled"
    except ImportError as error:
        # A module for another architecture or from another source is not used either.
        missing = isinstance(error, ModuleNotFoundError) and error.name == _MODULE
        why = "it was installed without a compiler" if missing else str(error)
        return None, f"in Python, which is slower: {why}"


compiled, description = load(os.environ)

"""
What a journal says it holds, compared with the files.

What must be true:

* a RESUME that disagrees costs that journal's name for a content, nothing else: the content
  goes on, for that journal under another name, for others as it was;
* a content is adopted under a name that the journal has only if all that the journal holds
  behind its last gap is proved to be its own, and no other content has that name;
* a journal that knows nothing of a content that it had acknowledged is asked what it holds,
  before anything is sent again: it may have it by another name.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from twisted.logger import Logger

from ..files import (
    Changed,
    ContentKey,
    FollowedFiles,
    Life,
    OpenContent,
    Position,
    Vanished,
)
from ..wire.control import KNOWN
from .counts import Counts
from .identification import Slices, checksumInSlices, identify
from .streams import Happening, OpenStream, State, StreamTable

__all__ = ["Comparison"]


class Comparison:
    """
    The comparisons of one connection.

    @ivar listed: what the journal holds.
    @ivar isListed: whether it was asked.
    """

    _log = Logger()

    def __init__(
        self,
        files: FollowedFiles,
        streams: StreamTable,
        counts: Counts,
        clock: Callable[[], float],
    ) -> None:
        self.listed: list[KNOWN] = []
        self.isListed = False
        self._files = files
        self._streams = streams
        self._counts = counts
        self._clock = clock
        self._aliases: dict[ContentKey, ContentKey] = {}

    def connected(self) -> None:
        """The positions of the journal count."""
        self._aliases = self._files.aliases()

    # RESUME

    def isKnown(self, stream: OpenStream) -> bool:
        """
        Whether a RESUME needs no reading: it says what we know, or there is nothing to read.
        """
        line, content = stream.resume, stream.content
        assert line is not None
        told = (line.offset, line.base, line.crc)
        own = content.acknowledged
        before = self._files.rememberedOf(content)
        if before is not None and line.offset < before.offset:
            if self._isForgotten(stream, before):
                return False
            self._log.warn(
                "the master holds {held} octets of {name!r}, it had acknowledged {offset}: it"
                " has lost some, they are sent again",
                event="went-back",
                held=line.offset,
                name=content.name,
                offset=before.offset,
            )
        if told == (own.offset, own.base, own.crc) or (
            before is not None
            and (before.stream, before.generation) == stream.alias
            and told == (before.offset, before.base, before.crc)
        ):
            return True
        # There is nothing to compare; what is left of it, if anything, is a gap anyway. We may
        # have shipped more of it than is stored, and were killed.
        return content.lostReason is not None and own.offset <= line.offset

    def _isForgotten(self, stream: OpenStream, before: Position) -> bool:
        """Whether a journal knows nothing of what it had acknowledged."""
        line, content = stream.resume, stream.content
        assert line is not None
        return (
            not stream.isSure
            and line.offset <= content.content.origin < before.offset
            and content.lostReason is None
        )

    def compare(self, stream: OpenStream) -> Slices[Happening]:
        """Our octets, and the journal's checksum of them."""
        line, content = stream.resume, stream.content
        assert line is not None
        before = self._files.rememberedOf(content)
        if before is not None and self._isForgotten(stream, before):
            return Happening.DISAGREED
        own = content.acknowledged
        content.look()
        isShort = content.isCopied and content.life is Life.ROTATED
        if isShort and line.base == own.base and line.offset > content.size:
            # logrotate made the copy before the last octets came. We shipped them from the
            # file, and were killed before that was saved.
            content.giveUp("truncated")
            return Happening.AGREED
        if line.base == own.base and line.offset >= own.offset:
            start, crc = own.offset, own.crc
        else:
            start, crc = line.base, 0
        try:
            crc = yield from checksumInSlices(content, start, line.offset, crc)
        except (Changed, Vanished):
            self._diverged(stream, "more octets than this file")
            return Happening.DISAGREED
        except OSError as error:
            content.trouble = error.strerror or str(error)
            return Happening.FAILED
        if crc != line.crc:
            self._diverged(stream, "other octets than this file")
            return Happening.DISAGREED
        return Happening.AGREED

    def resume(self, stream: OpenStream) -> None:
        """What was compared counts from now on."""
        line, content = stream.resume, stream.content
        assert line is not None
        # Of what has no file any more, nothing is taken that we did not see ourselves.
        offset = line.offset
        if content.lostReason is not None:
            offset = min(offset, content.content.seen)
        base = min(line.base, offset)
        content.resume(Position(*stream.alias, offset, base, line.crc))
        content.dirty = True
        self._files.changed()

    def _diverged(self, stream: OpenStream, what: str) -> None:
        """
        The journal holds another content by this name than we have.

        Our state or the worker's disk was restored from a copy, or copied to another
        machine. What the journal holds is found by content if we have it at all.
        """
        line, name = stream.resume, stream.content.name
        assert line is not None
        self._counts.divergedFrom(name, self._clock())
        stream.refused.add((line.stream, line.generation))
        self._log.error(
            "the master holds {reason} for {name!r} (stream {stream}, {offset} octets): it is"
            " looked for in what the master has, or goes on as a new stream",
            event="diverged",
            reason=what,
            name=name,
            stream=line.stream,
            offset=line.offset,
        )

    # LIST

    def identifyAll(self) -> Slices[None]:
        """Find the contents that have no place yet among the streams the journal has."""
        found: dict[OpenContent, Position] = {}
        for stream in list(self._streams.of.values()):
            if stream.state not in (State.UNIDENTIFIED, State.DIVERGED):
                continue
            hasDiverged = stream.state is State.DIVERGED
            stream.happened(Happening.COMPARED)
            content = stream.content
            # What was acknowledged for certain is delivered, whatever it is called there.
            known = content.acknowledged.offset
            try:
                match = yield from identify(
                    content,
                    self._candidates(content, stream.refused),
                    known if known > content.content.origin else 0,
                )
            except OSError as error:
                content.trouble = error.strerror or str(error)
                stream.happened(Happening.FAILED)
                continue
            position = self._placed(stream, match, hasDiverged)
            if position is not None:
                there = (position.stream, position.generation)
                self._aliases[there] = content.key
                found[content] = position
        if found:
            self._files.adopt(found)
        for stream in self._streams.of.values():
            if stream.state is State.IDENTIFYING:
                stream.happened(Happening.NAMED)

    def _candidates(
        self, content: OpenContent, refused: set[ContentKey]
    ) -> list[KNOWN]:
        """The streams that are not another content's, nor were found not to be this one."""
        found = []
        for known in self.listed:
            there = (known.stream, known.generation)
            if there in refused or self._aliases.get(there, content.key) != content.key:
                continue
            found.append(known)
        return found

    def _placed(
        self, stream: OpenStream, match: KNOWN | None, hasDiverged: bool
    ) -> Position | None:
        content = stream.content
        if match is not None:
            self._log.info(
                "{name!r} is stream {stream} of the master, which holds {offset} octets of it",
                name=content.name,
                stream=match.stream,
                offset=match.offset,
            )
            return _positionOf(match)
        if hasDiverged and stream.alias in stream.refused:
            self._log.warn("{name!r} goes on as a new stream", name=content.name)
            start = content.acknowledged.offset
            return Position(uuid4().hex, 0, start, start)
        stream.isSure = True
        return None

    def identifyPast(self) -> Slices[None]:
        """
        Continue the rotated files that the journal holds a part of, after the state was lost:
        they were being shipped. So were to be those that are younger than one that it holds.
        """
        held: set[str] = set()
        for content in self._files.past():
            try:
                match = yield from identify(content, self._candidates(content, set()))
            except OSError:
                # It is reported when its directory is looked at.
                match = None
            finally:
                content.close()
            if match is not None:
                held.add(content.name)
                self._aliases[match.stream, match.generation] = content.key
                self._files.proceed(content, _positionOf(match))
            elif content.name in held:
                self._files.proceed(content, Position(*content.key))


def _positionOf(known: KNOWN) -> Position:
    return Position(known.stream, known.generation, known.offset, known.base, known.crc)

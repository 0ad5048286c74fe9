"""
Comparing the journal's claims with the files.

What must be true:

* a RESUME that disagrees costs only the name of the content in that journal. The content
  continues: in that journal under another name, in other journals unchanged;
* a content takes over a name that the journal has only if all octets that the journal holds
  there after its last gap are proved to be its own, and no other content has that name;
* if a journal no longer knows a content that it acknowledged, the sender asks for its list before
  it sends anything again: the journal may have the content under another name.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from twisted.logger import Logger

from ..files import (
    AcknowledgedPosition,
    Changed,
    ContentKey,
    FollowedFiles,
    Life,
    OpenContent,
    Vanished,
)
from ..wire import KNOWN
from ._counts import Counts
from ._identification import Slices, checksumInSlices, identify
from ._streams import Happening, OpenStream, State, StreamTable

__all__ = ["Comparison"]


class Comparison:
    """
    The comparisons on a connection.

    @ivar listed: the streams that the journal holds.
    @ivar isListed: whether the journal was asked for them.
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
        """The journal is known: its positions count from now on."""
        self._aliases = self._files.journal.aliases()

    # RESUME

    def isKnown(self, stream: OpenStream) -> bool:
        """
        Whether a RESUME needs no reading: it repeats our position, or there is nothing to read.
        """
        line, content = stream.resume, stream.content
        assert line is not None
        told = (line.offset, line.base, line.crc)
        own = content.acknowledged
        before = self._files.journal.rememberedOf(content)
        if before is not None and line.offset < before.offset:
            if self._isForgotten(stream, before):
                return False
            self._log.warn(
                "the master holds {held} octets of {name!r}, but had acknowledged {offset}: its"
                " journal lost some. Sending them again",
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
        # No file to compare with: any remaining octets become a gap in any case. The master may
        # have more than our saved offset, if we were killed before we saved.
        return content.lostReason is not None and own.offset <= line.offset

    def _isForgotten(self, stream: OpenStream, before: AcknowledgedPosition) -> bool:
        """Whether the journal knows nothing of octets that it acknowledged."""
        line, content = stream.resume, stream.content
        assert line is not None
        return (
            not stream.isSure
            and line.offset <= content.content.origin < before.offset
            and content.lostReason is None
        )

    def compare(self, stream: OpenStream) -> Slices[Happening]:
        """Compare the journal's checksum with that of our octets."""
        line, content = stream.resume, stream.content
        assert line is not None
        before = self._files.journal.rememberedOf(content)
        if before is not None and self._isForgotten(stream, before):
            return Happening.DISAGREED
        own = content.acknowledged
        content.check()
        isShort = content.isCopied and content.life is Life.ROTATED
        if isShort and line.base == own.base and line.offset > content.size:
            # logrotate made the copy before the last octets were written. We sent them from the
            # original, and a kill prevented saving that.
            content.giveUp("truncated")
            return Happening.AGREED
        if line.base == own.base and line.offset >= own.offset:
            start, crc = own.offset, own.crc
        else:
            start, crc = line.base, 0
        try:
            crc = yield from checksumInSlices(content, start, line.offset, crc)
        except (Changed, Vanished):
            self._diverged(stream, "more octets than this file has")
            return Happening.DISAGREED
        except OSError as error:
            content.trouble = error.strerror or str(error)
            return Happening.FAILED
        if crc != line.crc:
            self._diverged(stream, "other octets than this file has")
            return Happening.DISAGREED
        return Happening.AGREED

    def resume(self, stream: OpenStream) -> None:
        """Continue from the compared position."""
        line, content = stream.resume, stream.content
        assert line is not None
        # Without a file, accept no octet that we did not see ourselves.
        offset = line.offset
        if content.lostReason is not None:
            offset = min(offset, content.content.seen)
        base = min(line.base, offset)
        content.resume(AcknowledgedPosition(*stream.alias, offset, base, line.crc))
        content.dirty = True
        self._files.changed()

    def _diverged(self, stream: OpenStream, what: str) -> None:
        """
        The journal holds another content under this name.

        Our state or the worker's disk was restored from a copy, or copied to another machine. If
        the journal holds our content under another name, the comparison finds it.
        """
        line, name = stream.resume, stream.content.name
        assert line is not None
        self._counts.divergedFrom(name, self._clock())
        stream.refused.add((line.stream, line.generation))
        self._log.error(
            "the master holds {reason} for {name!r} (stream {stream}, {offset} octets): searching"
            " its other streams; without a match, the file continues as a new stream. Check"
            " whether this worker's disk or state was restored or copied to another machine",
            event="diverged",
            reason=what,
            name=name,
            stream=line.stream,
            offset=line.offset,
        )

    # LIST

    def identifyAll(self) -> Slices[None]:
        """Match the contents that have no stream yet with the journal's streams."""
        found: dict[OpenContent, AcknowledgedPosition] = {}
        for stream in list(self._streams.of.values()):
            if stream.state not in (State.UNIDENTIFIED, State.DIVERGED):
                continue
            hasDiverged = stream.state is State.DIVERGED
            stream.happened(Happening.COMPARED)
            content = stream.content
            # Octets that were acknowledged are delivered, under whichever name.
            known = content.acknowledged.offset
            try:
                match = yield from identify(
                    content,
                    self._candidates(content, stream.refused),
                    # Nor does it have less than what DECNET's own forwarder sent before us.
                    known,
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
            self._files.journal.adopt(found)
        for stream in self._streams.of.values():
            if stream.state is State.IDENTIFYING:
                stream.happened(Happening.NAMED)

    def _candidates(
        self, content: OpenContent, refused: set[ContentKey]
    ) -> list[KNOWN]:
        """The streams that no other content has and that were not found to differ from this one."""
        found = []
        for known in self.listed:
            there = (known.stream, known.generation)
            if there in refused or self._aliases.get(there, content.key) != content.key:
                continue
            found.append(known)
        return found

    def _placed(
        self, stream: OpenStream, match: KNOWN | None, hasDiverged: bool
    ) -> AcknowledgedPosition | None:
        content = stream.content
        if match is not None:
            self._log.info(
                "the master has {name!r} as stream {stream} and holds {offset} octets",
                name=content.name,
                stream=match.stream,
                offset=match.offset,
            )
            return _positionOf(match)
        if hasDiverged and stream.alias in stream.refused:
            self._log.warn("{name!r} continues as a new stream", name=content.name)
            start = content.acknowledged.offset
            return AcknowledgedPosition(uuid4().hex, 0, start, start)
        stream.isSure = True
        return None

    def identifyPast(self) -> Slices[None]:
        """
        After a loss of the state: continue the rotated files that the journal holds in part,
        because they were being sent, and send the younger rotated files of the same paths.
        """
        held: set[str] = set()
        for content in self._files.journal.past():
            try:
                match = yield from identify(content, self._candidates(content, set()))
            except OSError:
                # The look at its directory reports the error.
                match = None
            finally:
                content.close()
            if match is not None:
                held.add(content.name)
                self._aliases[match.stream, match.generation] = content.key
                self._files.journal.proceed(content, _positionOf(match))
            elif content.name in held:
                self._files.journal.proceed(content, AcknowledgedPosition(*content.key))


def _positionOf(known: KNOWN) -> AcknowledgedPosition:
    return AcknowledgedPosition(
        known.stream, known.generation, known.offset, known.base, known.crc
    )

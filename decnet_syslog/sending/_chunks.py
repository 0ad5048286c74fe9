"""The order in which the chunks of all contents are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..files import Chunk, OpenContent

__all__ = ["byName", "nextChunk"]


def byName(contents: Iterable[OpenContent]) -> dict[str, list[OpenContent]]:
    """The contents of each path, the oldest first."""
    names: dict[str, list[OpenContent]] = {}
    for one in contents:
        names.setdefault(one.name, []).append(one)
    return names


def nextChunk(
    contents: Sequence[OpenContent], read: Callable[[OpenContent], Chunk | None]
) -> tuple[OpenContent, Chunk] | None:
    """
    The next chunk of a path, from its oldest content. Nothing of a newer content is sent before
    all of the older one, including a last line that is still being written.
    """
    for one in contents:
        chunk = read(one)
        if chunk is not None:
            return one, chunk
        if one.isWaiting:
            return None
    return None

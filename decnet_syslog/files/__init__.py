"""
The contents of a worker's log files, and which file holds each. No network, no reactor.
"""

from ._archives import RESERVE_OCTETS, openArchive, openRegular, unpacking
from ._chunks import Chunk, FinalLine, GapChunk, LineChunk
from ._codecs import codecOf, decoderFor, whyUnreadable
from ._contents import AcknowledgedPosition, Content, ContentKey, Life, Proof
from ._decnetoffset import (
    hasOurState,
    isThere,
    readDecnetOffset,
    writeDecnetOffset,
)
from ._directories import DirectoryCache
from ._errors import BadOctets, CannotDecode
from ._followed import FILES_MAX, FollowedFiles
from ._journals import PLAIN
from ._names import RotatedIndex, RotatedNames, canonicalPath, isRotatedOf, linksOf
from ._objects import FileId, identify
from ._objects import openRegular as openLog
from ._open import OpenContent
from ._outcomes import (
    Damaged,
    NoSpace,
    Outcome,
    TooLarge,
    Unfinished,
    Unpacked,
    Unsupported,
)
from ._outlines import HEAD_OCTETS, Outline, outline
from ._reader import Changed, Vanished
from ._rotations import COMPRESSED, compressionOf, rotationsOf, stemsOf
from ._store import Authority, JournalSeen, StateStore
from ._writers import isOpenForWriting

__all__ = [
    "COMPRESSED",
    "FILES_MAX",
    "HEAD_OCTETS",
    "PLAIN",
    "RESERVE_OCTETS",
    "AcknowledgedPosition",
    "Authority",
    "BadOctets",
    "CannotDecode",
    "Changed",
    "Chunk",
    "Content",
    "ContentKey",
    "Damaged",
    "DirectoryCache",
    "FileId",
    "FinalLine",
    "FollowedFiles",
    "GapChunk",
    "JournalSeen",
    "Life",
    "LineChunk",
    "NoSpace",
    "OpenContent",
    "Outcome",
    "Outline",
    "Proof",
    "RotatedIndex",
    "RotatedNames",
    "StateStore",
    "TooLarge",
    "Unfinished",
    "Unpacked",
    "Unsupported",
    "Vanished",
    "canonicalPath",
    "codecOf",
    "compressionOf",
    "decoderFor",
    "hasOurState",
    "identify",
    "isOpenForWriting",
    "isRotatedOf",
    "isThere",
    "linksOf",
    "openArchive",
    "openLog",
    "openRegular",
    "outline",
    "readDecnetOffset",
    "rotationsOf",
    "stemsOf",
    "unpacking",
    "whyUnreadable",
    "writeDecnetOffset",
]

"""
The contents of a worker's log files, and which file holds each. No network, no reactor.
"""

from ._chunks import Chunk, FinalLine, GapChunk
from ._codecs import codecOf, decoderFor, whyUnreadable
from ._contents import AcknowledgedPosition, ContentKey, Life
from ._decnetoffset import hasOurState, isThere, readDecnetOffset, writeDecnetOffset
from ._errors import BadOctets, CannotDecode
from ._followed import FILES_MAX, FollowedFiles
from ._follower import GENERATION_MAX
from ._journals import PLAIN
from ._names import RotatedNames, linksOf
from ._objects import openRegular as openLog
from ._open import OpenContent
from ._reader import Changed, Vanished
from ._rotations import COMPRESSED, compressionOf, rotationsOf, stemsOf
from ._store import Authority, StateStore
from ._writers import isOpenForWriting

__all__ = [
    "COMPRESSED",
    "FILES_MAX",
    "GENERATION_MAX",
    "PLAIN",
    "AcknowledgedPosition",
    "Authority",
    "BadOctets",
    "CannotDecode",
    "Changed",
    "Chunk",
    "ContentKey",
    "FinalLine",
    "FollowedFiles",
    "GapChunk",
    "Life",
    "OpenContent",
    "RotatedNames",
    "StateStore",
    "Vanished",
    "codecOf",
    "compressionOf",
    "decoderFor",
    "hasOurState",
    "isOpenForWriting",
    "isThere",
    "linksOf",
    "openLog",
    "readDecnetOffset",
    "rotationsOf",
    "stemsOf",
    "whyUnreadable",
    "writeDecnetOffset",
]

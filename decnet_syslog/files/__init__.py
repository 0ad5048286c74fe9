"""
What is in a worker's files: names, archives, writers. No network, no reactor, no state.
"""

from ._archives import RESERVE_OCTETS, openArchive, openRegular, unpacking
from ._codecs import codecOf, decoderFor, whyUnreadable
from ._errors import BadOctets, CannotDecode
from ._names import RotatedIndex, RotatedNames, canonicalPath, isRotatedOf, linksOf
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
from ._rotations import COMPRESSED, compressionOf, rotationsOf, stemsOf
from ._writers import isOpenForWriting

__all__ = [
    "COMPRESSED",
    "HEAD_OCTETS",
    "RESERVE_OCTETS",
    "BadOctets",
    "CannotDecode",
    "Damaged",
    "NoSpace",
    "Outcome",
    "Outline",
    "RotatedIndex",
    "RotatedNames",
    "TooLarge",
    "Unfinished",
    "Unpacked",
    "Unsupported",
    "canonicalPath",
    "codecOf",
    "compressionOf",
    "decoderFor",
    "isOpenForWriting",
    "isRotatedOf",
    "linksOf",
    "openArchive",
    "openRegular",
    "outline",
    "rotationsOf",
    "stemsOf",
    "unpacking",
    "whyUnreadable",
]

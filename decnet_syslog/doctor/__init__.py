"""The doctor: finds what would keep a worker or a master from working, with the remedy."""

from ._ends import examineForwarder, examineListener
from ._report import DoctorReport

__all__ = [
    "DoctorReport",
    "examineForwarder",
    "examineListener",
]

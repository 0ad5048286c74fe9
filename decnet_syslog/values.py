"""
Values: dataclasses that never change, as cheap to make as other objects.

Python makes a frozen dataclass with a call for each member, which takes four times as long as
assigning them: for a line that travels alone, the difference is a twentieth of the listener's work.
So the type checker refuses an assignment to a member of a value, and Python does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        """Do nothing: only the type checker needs it."""
        return lambda function: function


__all__ = ["value"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a class of values, with C{__slots__}, equality and a hash."""
    return dataclass(slots=True, unsafe_hash=True)(cls)

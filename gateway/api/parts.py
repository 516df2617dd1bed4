"""How handlers ask for the parts of the gateway: by name and type, as they are, without validation.

The parts are objects of ours, built once; there is nothing in them that a client could have written.
"""

from typing import TypeAlias, TypeVar

from litestar.di import NamedDependency
from litestar.params import SkipValidation

T = TypeVar("T")

Part: TypeAlias = NamedDependency[SkipValidation[T]]

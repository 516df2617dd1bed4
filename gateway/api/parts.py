"""How handlers ask for the parts of the gateway: by name and type, as they are, without validation.

The parts are objects of ours, built once; there is nothing in them that a client could have written.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from litestar.di import NamedDependency
from litestar.params import SkipValidation

T = TypeVar("T")

Part: TypeAlias = NamedDependency[SkipValidation[T]]


def after_subject(part: Callable[[], Any]) -> Callable[[Any], Any]:
    """A provider of a part that only a known caller's request gets: its parameter has the caller found first.

    Dependencies that do not wait for each other are found side by side, each in a task of its own: where both
    are at hand, those tasks cost a request nearly as much as all the rest of the framework.
    """

    def provide(subject: Part[Any]) -> Any:  # noqa: ARG001  the framework reads the parameter's name
        return part()

    return provide

"""Roadbalancer for programs: `import roadbalancer as rb`. The names are those of `api_roadbalancer`."""

from typing import TYPE_CHECKING, Any

import api_roadbalancer
from api_roadbalancer import __all__

if TYPE_CHECKING:
    from api_roadbalancer import *  # noqa: F403
    from api_roadbalancer import map as map


def __getattr__(name: str) -> Any:
    return getattr(api_roadbalancer, name)


def __dir__() -> list[str]:
    return sorted([*__all__, "map"])

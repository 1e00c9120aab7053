"""Simulated processes that share slots."""

from collections.abc import Callable
from pathlib import Path

from balancer.endpoint import Endpoint
from balancer.state.slots import shared as slots
from balancer.state.slots.shared import SharedSlots

__all__ = ["LUA", "NAME", "StartProcess", "endpoint", "kill"]


LUA = Path(slots.__file__).parent
NAME = "e"
StartProcess = Callable[..., SharedSlots]


def endpoint(limit: int, reserve: int = 0) -> Endpoint:
    return Endpoint("http://gpu1:8000/v1", name=NAME, max_concurrency=limit, reserve=reserve)


def kill(process: SharedSlots) -> None:
    """End a process as SIGKILL does: nothing is given back."""
    task = process._asking._task
    assert task is not None
    task.cancel()
    process._asking._task = None

    async def nothing(names: list[str]) -> None:
        return None

    process._settle = nothing  # type: ignore[method-assign]

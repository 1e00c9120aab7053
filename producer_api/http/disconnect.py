"""Ends the work for a request whose caller has gone."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException
from starlette.types import Scope

__all__ = ["CallerGone", "ended_by_disconnect", "note_disconnect"]

_GONE = "roadbalancer.caller_gone"
_ON_DISCONNECT = "roadbalancer.on_disconnect"


class CallerGone(HTTPException):
    """Nothing is left to answer to. The status is the one that nginx logs for it."""

    def __init__(self) -> None:
        super().__init__(499, "the caller has closed the connection")


def note_disconnect(scope: Scope) -> None:
    """Record that a request's connection is lost, and end what waits for that. Called by the HTTP protocol."""
    scope[_GONE] = True
    end = scope.get(_ON_DISCONNECT)
    if end is not None:
        end()


@contextmanager
def ended_by_disconnect(scope: Scope) -> Iterator[None]:
    """Cancel what the current task does inside as soon as the request's caller is gone. Raises CallerGone then."""
    if scope.get(_GONE):
        raise CallerGone
    task = asyncio.current_task()
    assert task
    gone = False

    def end() -> None:
        nonlocal gone
        gone = True
        task.cancel()

    scope[_ON_DISCONNECT] = end
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise CallerGone from None
        raise
    finally:
        del scope[_ON_DISCONNECT]

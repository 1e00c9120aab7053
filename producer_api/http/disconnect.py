"""Ends the work for a request whose caller has gone."""

import asyncio
from types import TracebackType

from starlette.exceptions import HTTPException
from starlette.types import Scope

__all__ = ["CallerGone", "EndedByDisconnect", "note_disconnect"]

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


class EndedByDisconnect:
    """A context manager that cancels what the current task does inside as soon as the request's caller is gone. Raises CallerGone
    then."""

    __slots__ = ("_gone", "_scope", "_task")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._gone = False

    def __enter__(self) -> None:
        if self._scope.get(_GONE):
            raise CallerGone
        task = asyncio.current_task()
        assert task
        self._task = task
        self._scope[_ON_DISCONNECT] = self._end

    def _end(self) -> None:
        self._gone = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        del self._scope[_ON_DISCONNECT]
        if isinstance(error, asyncio.CancelledError) and self._gone and self._task.uncancel() == 0:
            raise CallerGone from None

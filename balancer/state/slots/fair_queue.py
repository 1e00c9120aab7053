"""Fair queueing: which flow of one process gets the next slot of an endpoint."""

import asyncio
from collections import deque
from typing import NamedTuple

__all__ = ["BACKGROUND", "ONE_FLOW", "FairQueue", "Flow"]


class Flow(NamedTuple):
    """Requests that share a turn, in the sense of fair queueing: those of one job. Higher `priority` goes first.

    A tuple, since it is hashed several times for each request.
    """

    name: str = ""
    priority: float = 0


BACKGROUND = -1000
"""The priority of flows that take only what no other wants."""
ONE_FLOW = Flow()
"""The flow of requests that belong to no job: first come, first served."""


class FairQueue:
    """The requests that wait for slots of one endpoint, and how many slots each flow holds.

    A free slot goes to the highest priority that waits; among equals to the flow that holds the fewest (max-min fairness, so
    that long answers take no more slots than short ones); then to the one that has waited longest. Holds one future for each
    request that waits: True means that it has been given a slot, False that it was turned away.
    """

    def __init__(self) -> None:
        self.held: dict[Flow, int] = {}
        self._waiting: dict[Flow, deque[asyncio.Future[bool]]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def is_background(self) -> bool:
        """Whether all that wait or hold slots take only what no other wants."""
        flows = [*self._waiting, *self.held]
        return bool(flows) and all(flow.priority <= BACKGROUND for flow in flows)

    def take(self, flow: Flow) -> None:
        """Count a slot as held by `flow`."""
        self.held[flow] = self.held.get(flow, 0) + 1

    def give_back(self, flow: Flow) -> None:
        """Count a slot of `flow` as held no more."""
        left = self.held[flow] - 1
        if left:
            self.held[flow] = left
        else:
            del self.held[flow]

    def enter(self, flow: Flow) -> "asyncio.Future[bool]":
        """Begin to wait; a waiter that stops before the future is done calls `leave`."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(flow, deque()).append(waiter)
        self._size += 1
        return waiter

    def leave(self, flow: Flow, waiter: "asyncio.Future[bool]") -> bool:
        """Stop waiting, and say whether a slot has been given all the same, which the caller must release."""
        waiters = self._waiting.get(flow)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            self._size -= 1
            if not waiters:
                del self._waiting[flow]
        return waiter.done() and not waiter.cancelled() and waiter.result()

    def grant(self) -> bool:
        """Give a slot to the one whose turn it is, counted as held; False if all that waited have gone away."""
        while self._size:
            flow = self._next()
            waiters = self._waiting[flow]
            waiter = waiters.popleft()
            self._size -= 1
            if not waiters:
                del self._waiting[flow]
            elif len(self._waiting) > 1:
                self._waiting[flow] = self._waiting.pop(flow)  # behind its equals
            if not waiter.done():
                self.take(flow)
                waiter.set_result(True)
                return True
        return False

    def _next(self) -> Flow:
        if len(self._waiting) == 1:
            return next(iter(self._waiting))
        return min(self._waiting, key=lambda each: (-each.priority, self.held.get(each, 0)))

    def turn_away(self) -> None:
        """End all waits without a slot."""
        waiting, self._waiting, self._size = self._waiting, {}, 0
        for waiters in waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(False)

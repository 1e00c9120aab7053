"""A slot: the right to send one request to an endpoint, with its share of the rate limits."""

from types import TracebackType
from typing import TYPE_CHECKING

from balancer.errors import BalancerError
from balancer.outcome import NO_USAGE, Outcome
from balancer.state.slots.fair_queue import Flow

if TYPE_CHECKING:
    from balancer.state.rate_limits import RateLimits
    from balancer.state.slots import Slots

__all__ = ["Slot", "SlotLapsed"]


class SlotLapsed(BalancerError):
    """Nothing was sent: the slot's lease was over, so that others may have been given it."""


class Slot:
    """Held for one request to `endpoint`; see `Fleet.slot`. Give it back with `release`, or use it as a context manager.

    `expected` is the tokens taken from the endpoint's rate limits, None where it has none.
    """

    __slots__ = ("_expected", "_flow", "_rate_limits", "_slots", "abandoned", "endpoint", "released", "sent")

    def __init__(self, endpoint: str, flow: Flow, slots: "Slots", rate_limits: "RateLimits", expected: int | None) -> None:
        self.endpoint = endpoint
        self.sent = False
        """Whether the request has been handed to the endpoint."""
        self.abandoned: Outcome | None = None
        """What a request has used that was aborted before its answer."""
        self.released = False
        self._flow = flow
        self._slots = slots
        self._rate_limits = rate_limits
        self._expected = expected

    def __enter__(self) -> "Slot":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def check(self) -> None:
        """Raise SlotLapsed if others may have been given the slot, since the process was frozen for longer than its lease."""
        if self._slots.has_lapsed(self.endpoint):
            raise SlotLapsed(f"the lease of a slot at {self.endpoint} was over before its request was sent")

    def account(self, outcome: Outcome) -> None:
        """Correct the rate limits by what the request really used, where that is known."""
        if outcome.failure or outcome.abandoned or outcome.usage != NO_USAGE:
            self._reconcile(outcome)

    def release(self) -> None:
        """Give it back. A second time does nothing."""
        if self.released:
            return
        self.released = True
        self._slots.release(self.endpoint, self._flow)
        if not self.sent:
            self._reconcile(None)

    def _reconcile(self, outcome: Outcome | None) -> None:
        if self._expected is not None:
            self._rate_limits.reconcile(self.endpoint, self._expected, outcome.usage if outcome else NO_USAGE)
            self._expected = None

"""Collects the outcomes of an endpoint between two reports."""

from dataclasses import dataclass, replace

from balancer.outcome import Failure, FailureKind, Outcome
from balancer.state.health.circuit import DOUBT, HealthPolicy, OpenedBy

__all__ = ["Seen"]

_OPENED_BY = {FailureKind.CONNECTION: OpenedBy.CONNECTION, FailureKind.AUTHENTICATION: OpenedBy.KEY}
_REASONS = {
    FailureKind.AUTHENTICATION: "the key is refused ({}); check its api_key",
    FailureKind.QUOTA: "the account's quota is spent ({}); add to it or wait for it",
    FailureKind.MODEL_NOT_FOUND: "a model that is configured or was asked for is not served there ({}); check its models",
}
TAKEN_OUT_FOR = 300.0
"""Seconds after which an endpoint is tried again that refused the key or has no quota left."""
DEFAULT_RATE_LIMIT_PAUSE = 1.0
"""Seconds to leave an endpoint alone that answers 429 without saying for how long."""
LONGEST_RATE_LIMIT_PAUSE = 3600.0
"""Seconds after which it is tried again, whatever Retry-After it sent."""


@dataclass(slots=True)
class Seen:
    """What this process saw of one endpoint since its last report."""

    ok: int = 0
    answered: int = 0
    """Those of `ok` that were full answers: a refused request says nothing about the pace."""
    latency_sum: float = 0.0
    run: int = 0
    """Failures since the last success."""
    repeated_run: int = 0
    """Those besides of requests that had failed there before, by what may be their own fault."""
    timeouts: int = 0
    """Requests since the last success that were not answered in time, without those that had failed there before."""
    failed: int = 0
    error: str = ""
    limited_for: float = 0.0
    opened_by: OpenedBy = OpenedBy.ANSWERS
    """What the last failure was."""
    doubt: int = 1
    """`DOUBT` if the last failure may have been the request's own fault."""
    taken_out: bool = False
    """Requests will keep failing there until the operator acts."""

    def policy(self, usual: HealthPolicy) -> HealthPolicy:
        """Return for how long the circuit opens."""
        return replace(usual, first_open=TAKEN_OUT_FOR, longest_open=TAKEN_OUT_FOR) if self.taken_out else usual

    @property
    def anything(self) -> bool:
        return bool(self.ok or self.failed)

    def add(self, outcome: Outcome, policy: HealthPolicy) -> bool:
        """Take one outcome in and return whether the others should know at once."""
        failure = outcome.failure
        if failure is None or not _concerns_the_endpoint(failure):
            self.ok += 1
            if failure is None:
                self.answered += 1
                self.latency_sum += outcome.latency
            elif failure.one_model or failure.kind is FailureKind.MODEL_NOT_FOUND:
                self._show(failure)
            self.run = self.repeated_run = self.timeouts = 0
            self.limited_for = max(self.limited_for, outcome.used_up_for)
            return outcome.used_up_for > 0
        self._show(failure)
        if outcome.too_many and failure.retry_after is None:
            return False
        if failure.kind is FailureKind.TIMEOUT and not outcome.repeated:
            self.timeouts += 1
        if failure.kind is FailureKind.RATE_LIMIT or failure.retry_after is not None:
            pause = failure.retry_after or DEFAULT_RATE_LIMIT_PAUSE
            self.limited_for = max(self.limited_for, min(pause, LONGEST_RATE_LIMIT_PAUSE))
        self.doubt = DOUBT if failure.may_be_the_requests else 1
        self.opened_by = _OPENED_BY.get(failure.kind, OpenedBy.ANSWERS)
        if failure.takes_endpoint_out:
            self.taken_out = True
            self.run = policy.failures_to_open * DOUBT
        elif outcome.repeated and failure.may_be_the_requests:
            self.repeated_run += 1
        elif failure.counts_against_endpoint:
            self.run += policy.connection_weight if failure.kind is FailureKind.CONNECTION else 1
        return True

    def _show(self, failure: Failure) -> None:
        """Make a failure the endpoint's last error."""
        self.failed += 1
        what = _REASONS.get(failure.kind, "{}").format(failure.public_message)
        self.error = f"{failure.kind}: {what}"[:300]

    def merge(self, older: "Seen") -> None:
        """Take back what could not be reported."""
        if not self.ok:
            self.run += older.run
            self.repeated_run += older.repeated_run
            self.timeouts += older.timeouts
        self.ok += older.ok
        self.answered += older.answered
        self.latency_sum += older.latency_sum
        if not self.failed:
            self.opened_by, self.doubt = older.opened_by, older.doubt
        self.taken_out = self.taken_out or older.taken_out
        self.failed += older.failed
        self.error = self.error or older.error
        self.limited_for = max(self.limited_for, older.limited_for)


def _concerns_the_endpoint(failure: Failure) -> bool:
    return failure.counts_against_endpoint or failure.takes_endpoint_out or failure.kind is FailureKind.RATE_LIMIT

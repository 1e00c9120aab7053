import pytest

from balancer.fleet.sent import Sent
from balancer.outcome import Failure, FailureKind, Outcome
from producer_api.gateway.failures import problem_of


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_of_failure_has_a_status(kind: FailureKind) -> None:
    sent = Sent()
    sent.add(Outcome("e", 0.1, failure=Failure(kind, "it failed")))
    problem = problem_of(sent)
    assert problem.status >= 400
    assert (problem.message, problem.code) == ("it failed", kind.value)

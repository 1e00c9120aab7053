from __future__ import annotations

import pytest

from api_roadbalancer.mock.behaviour import Behaviour, BehaviourError, Fault


def test_a_change_leaves_the_other_options_and_the_original_alone() -> None:
    before = Behaviour(latency=0.5)
    after = before.changed({"fault": "503", "models": ["a", "b"]})
    assert (after.latency, after.fault, after.models) == (0.5, Fault.OVERLOADED_503, ("a", "b"))
    assert before == Behaviour(latency=0.5)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("latency", -0.1),  # below its range
        ("latency", "1"),  # a number in quotes
        ("latency", True),  # a bool is an int to Python
        ("latency", float("nan")),  # compares with nothing
        ("error_rate", 1.1),  # above its range
        ("max_concurrency", 1.5),  # not whole
        ("max_concurrency", -1),
        ("track_keys", 1),
        ("fault", "explode"),
        ("models", "a,b"),  # a string is iterable, too
        ("fail_custom", [""]),  # would match every body
        ("retry_after", "soon"),
        ("colour", "red"),  # no such option
    ],
)
def test_a_bad_option_is_refused_by_name(option: str, value: object) -> None:
    with pytest.raises(BehaviourError) as caught:
        Behaviour().changed({option: value})
    assert caught.value.option == option
    assert option in str(caught.value)


def test_bad_values_are_refused_at_the_start_too() -> None:
    with pytest.raises(BehaviourError, match="jitter"):
        Behaviour(jitter=-1)


def test_every_option_can_be_read_back_and_set_again() -> None:
    behaviour = Behaviour(latency=1, fault=Fault.HTML, retry_after=2.5, fail_custom=("x",))
    assert Behaviour().changed(behaviour.as_dict()) == behaviour

"""`roadbalancer endpoints`: the fleet changed from the command line."""

import functools
import json
from collections.abc import Callable

import pytest
from click.testing import Result

from balancer.errors import ConfigurationError
from jobs.errors import NotFound

Command = Run = Callable[..., Result]


@pytest.fixture
def run(command: Command, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("GPU5_KEY", "key-of-a-test")
    return functools.partial(command, "endpoints")


def fleet(run: Run) -> dict[str, dict[str, object]]:
    return {each["name"]: each for each in json.loads(run("--json").stdout)}


def test_the_fleet_is_changed(run: Run) -> None:
    added = run("add", "http://gpu5:8000/v1", "--models", "m,n", "--api-key-env", "GPU5_KEY", "--set", "max_concurrency=3")
    assert (added.exit_code, added.stdout) == (0, "gpu5:8000 is added\n"), added.output
    assert fleet(run)["gpu5:8000"]["max_concurrency"] == 3
    assert run("set", "gpu5:8000", "max_concurrency=5", "price={input: 1, output: 2}").exit_code == 0
    assert fleet(run)["gpu5:8000"]["max_concurrency"] == 5
    assert run("drain", "gpu5:8000").stdout == "gpu5:8000 is drained\n"
    assert "draining" in run().stdout
    assert run("undrain", "gpu5:8000").exit_code == 0
    assert fleet(run)["gpu5:8000"]["draining"] is False
    assert run("drain", "127.0.0.1:1", "--remove").exit_code == 0
    assert run("remove", "127.0.0.1:1").exit_code == 0
    assert list(fleet(run)) == ["gpu5:8000"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("remove", "nine"), NotFound),
        (("set", "127.0.0.1:1", "wieght=2"), ConfigurationError),
        (("set", "127.0.0.1:1", "weight"), ValueError),
        (("set", "127.0.0.1:1", "price={"), ValueError),
        (("add", "nowhere"), ConfigurationError),
        (("add", "http://h/v1", "--api-key-env", "NOT_SET_ANYWHERE"), ConfigurationError),
    ],
)
def test_mistakes(run: Run, arguments: tuple[str, ...], error: type[Exception]) -> None:
    found = run(*arguments)
    assert found.exit_code != 0
    assert isinstance(found.exception, error)

"""`roadbalancer keys`, and what `api` and `up` say to addresses that others reach."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from balancer.state.redis_connection import AsyncRedis
from jobs.access import KeyStore, Limits
from jobs.access.secret import digest_of
from jobs.access.store import KeyOrder

PATIENCE_S = 60.0


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Path:
    """A working directory with a configuration."""
    (tmp_path / "config.yaml").write_text(
        f"redis_url: {redis_url}\nstore: {tmp_path / 'store'}\nendpoints: [url: http://127.0.0.1:9]\n"
    )
    return tmp_path


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROADBALANCER_")}
    return subprocess.run(
        [sys.executable, "-m", "api_roadbalancer", *arguments],
        cwd=folder,
        env=environment | {"ROADBALANCER_CONFIG": "config.yaml"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


async def test_a_key_is_made_listed_and_revoked(folder: Path, redis: AsyncRedis) -> None:
    options = ["--expires", "30d", "--models", "a,b,a", "--rpm", "60", "--tpm", "9000", "--parallel", "4"]
    options += ["--budget-day", "0.5", "--budget-month", "10"]
    made = command(folder, "keys", "create", "team [red]", *options)
    secret = made.stdout.strip()
    record = await KeyStore(redis).find(digest_of(secret))
    assert record and (record.name, record.models, record.admin) == ("team [red]", ("a", "b"), False)
    assert record.expires_at == record.created_at + 30 * 86400
    limits = record.limits
    assert (limits.rpm, limits.tpm, limits.parallel, limits.budget_day, limits.budget_month) == (60, 9000, 4, 0.5, 10.0)
    assert made.stdout == f"{secret}\n"
    assert record.id in made.stderr and secret not in made.stderr

    again = command(folder, "keys", "create", "team [red]")
    assert (again.returncode, again.stdout) == (2, "")
    assert "already" in again.stderr

    listed = command(folder, "keys", "list").stdout
    for shown in (record.id, "team [red]", "in use", "a, b", "60 requests/min", "9,000 tokens/min", "4 at once", "0.5 USD/day"):
        assert shown in listed
    assert secret not in listed and record.digest not in listed

    assert command(folder, "keys", "revoke", "team [red]").returncode == 0
    assert command(folder, "keys", "revoke", record.id).returncode == 2
    assert "revoked" in command(folder, "keys", "list").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("",),
        ("a\x1b[31m",),
        ("a" * 101,),
        ("a", "--expires", "0d"),
        ("a", "--expires", "forever"),
        ("a", "--rpm", "0"),
        ("a", "--budget-day", "-1"),
        ("a", "--budget-month", "nan"),
    ],
)
async def test_what_makes_no_key_is_refused(folder: Path, redis: AsyncRedis, arguments: tuple[str, ...]) -> None:
    refused = command(folder, "keys", "create", *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: ")
    assert await redis.keys("rb:keys*") == []


@pytest.mark.parametrize("part", [["api"], ["up", "--flower-port", "0", "--workers", "1"]])
def test_nothing_listens_for_others_without_a_key(folder: Path, part: list[str]) -> None:
    refused = command(folder, *part, "--host", "0.0.0.0", "--port", "0")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "error: --host: 0.0.0.0: would let anybody in" in refused.stderr
    assert "--insecure" in refused.stderr


def test_flower_wants_a_password_where_others_reach_it(folder: Path) -> None:
    refused = command(folder, "flower", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "FLOWER_BASIC_AUTH" in refused.stderr


async def test_limits_are_changed_of_the_key_in_use_not_of_a_revoked_one_with_its_name(folder: Path, redis: AsyncRedis) -> None:
    store = KeyStore(redis)
    await store.create(KeyOrder("team", limits=Limits(rpm=1)))
    await store.revoke("team")
    record, _ = await store.create(KeyOrder("team", limits=Limits(tpm=900, budget_day=1.0)))
    assert command(folder, "keys", "limit", "team", "--parallel", "2").returncode == 0
    found = await store.in_use("team")
    assert (found.id, found.limits) == (record.id, Limits(tpm=900, parallel=2, budget_day=1.0))
    assert command(folder, "keys", "limit", "nowhere", "--parallel", "2").returncode == 2

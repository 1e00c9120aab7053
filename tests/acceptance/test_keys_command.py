"""`roadbalancer keys`, and what `api` and `up` say to addresses that others reach."""

import pytest

from balancer.state.redis_connection import AsyncRedis
from jobs.access import KeyStore, Limits
from jobs.access.secret import digest_of
from jobs.access.store import KeyOrder
from jobs.records import FileRecord
from jobs.storage import keys
from tests.acceptance.shell import Shell


@pytest.fixture
def command(shell: Shell, redis_url: str) -> Shell:
    """Runs commands in a folder with a configuration."""
    shell.configure(redis_url=redis_url, endpoints=[{"url": "http://127.0.0.1:9"}])
    return shell


async def test_a_key_is_made_listed_and_revoked(command: Shell, redis: AsyncRedis) -> None:
    options = ["--expires", "30d", "--models", "a,b,a", "--rpm", "60", "--tpm", "9000", "--parallel", "4"]
    options += ["--budget-day", "0.5", "--budget-month", "10"]
    made = command("keys", "create", "team [red]", *options)
    secret = made.stdout.strip()
    record = await KeyStore(redis).find(digest_of(secret))
    assert record and (record.name, record.models, record.admin) == ("team [red]", ("a", "b"), False)
    assert record.expires_at == record.created_at + 30 * 86400
    limits = record.limits
    assert (limits.rpm, limits.tpm, limits.parallel, limits.budget_day, limits.budget_month) == (60, 9000, 4, 0.5, 10.0)
    assert made.stdout == f"{secret}\n"
    assert record.id in made.stderr and secret not in made.stderr

    again = command("keys", "create", "team [red]")
    assert (again.returncode, again.stdout) == (2, "")
    assert "already" in again.stderr

    listed = command("keys", "list").stdout
    for shown in (record.id, "team [red]", "in use", "a, b", "60 requests/min", "9,000 tokens/min", "4 at once", "0.5 USD/day"):
        assert shown in listed
    assert secret not in listed and record.digest not in listed

    assert command("keys", "revoke", "team [red]").returncode == 0
    assert command("keys", "revoke", record.id).returncode == 2
    assert "revoked" in command("keys", "list").stdout


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
async def test_what_makes_no_key_is_refused(command: Shell, redis: AsyncRedis, arguments: tuple[str, ...]) -> None:
    refused = command("keys", "create", *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: ")
    assert await redis.keys("rb:keys*") == []


@pytest.mark.parametrize("part", [["api"], ["up", "--flower-port", "0", "--workers", "1"]])
def test_nothing_listens_for_others_without_a_key(command: Shell, part: list[str]) -> None:
    refused = command(*part, "--host", "0.0.0.0", "--port", "0")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "error: --host: 0.0.0.0: would let anybody in" in refused.stderr
    assert "--insecure" in refused.stderr


def test_flower_wants_a_password_where_others_reach_it(command: Shell) -> None:
    refused = command("flower", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "FLOWER_BASIC_AUTH" in refused.stderr


async def test_limits_are_changed_of_the_key_in_use_not_of_a_revoked_one_with_its_name(command: Shell, redis: AsyncRedis) -> None:
    store = KeyStore(redis)
    await store.create(KeyOrder("team", limits=Limits(rpm=1)))
    await store.revoke("team")
    record, _ = await store.create(KeyOrder("team", limits=Limits(tpm=900, budget_day=1.0)))
    assert command("keys", "limit", "team", "--parallel", "2", "--http-rpm", "60").returncode == 0
    found = await store.in_use("team")
    assert (found.id, found.limits) == (record.id, Limits(tpm=900, http_rpm=60, parallel=2, budget_day=1.0))
    assert "60 HTTP requests/min" in command("keys", "list").stdout
    assert command("keys", "limit", "nowhere", "--parallel", "2").returncode == 2


async def test_the_data_of_a_key_is_deleted_and_kept_no_longer_than_its_retention(command: Shell, redis: AsyncRedis) -> None:
    made = command("keys", "create", "team", "--retention", "7d")
    assert made.returncode == 0, made.stderr
    record = await KeyStore(redis).in_use("team")
    assert record.limits.retention == 7 * 86400
    assert "data kept for 7 days" in command("keys", "list").stdout
    assert command("keys", "create", "other", "--retention", "soon").returncode == 2
    command("keys", "limit", "team", "--retention", "0")
    assert (await KeyStore(redis).in_use("team")).limits.retention is None
    await redis.zadd(keys.files_of(record.id), {"file-" + "0" * 32: 1.0})
    await redis.hset(keys.file("file-" + "0" * 32), mapping=FileRecord("x", "x", "batch", 1, 1, owner=record.id).to_fields())
    refused = command("keys", "erase", "team")
    assert refused.returncode != 0 and "can't be brought back" in refused.stderr, "it asks, and there is no answer"
    erased = command("keys", "erase", "team", "--yes")
    assert (erased.returncode, erased.stdout) == (0, "deleted 0 jobs, 1 files, 0 responses, 0 kept answers\n"), erased.stderr
    assert not await redis.exists(keys.files_of(record.id))
    unknown = command("keys", "erase", "unknown", "--yes")
    assert unknown.returncode == 2 and "'unknown'" in unknown.stderr

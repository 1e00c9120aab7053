"""Lua scripts on a server that may forget them."""

from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from balancer.errors import SharedStateUnavailable
from balancer.state.redis_connection import AsyncRedis, check_redis, open_redis, without_password
from balancer.state.scripts import Scripts


@pytest.fixture
def scripts(redis: AsyncRedis, tmp_path: Path) -> Scripts:
    (tmp_path / "add.lua").write_text("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    (tmp_path / "get.lua").write_text("return redis.call('GET', KEYS[1])")
    (tmp_path / "bad.lua").write_text("return redis.call('INCRBY', KEYS[1], 'x')")
    return Scripts(redis, tmp_path)


async def test_a_server_that_lost_its_scripts_is_given_them_again(redis: AsyncRedis, scripts: Scripts) -> None:
    assert await scripts.run("add", ("k",), (2,)) == 2
    await redis.script_flush()
    assert await scripts.run("add", ("k",), (2,)) == 4
    await redis.script_flush()
    await scripts.run("get", ("k",), ())
    assert await scripts.run_many([("add", ("i",), (1,)), ("get", ("k",), ()), ("add", ("j",), (7,))]) == [1, b"4", 7]


async def test_the_first_error_of_many_is_raised_and_the_others_are_done(redis: AsyncRedis, scripts: Scripts) -> None:
    with pytest.raises(ResponseError):
        await scripts.run_many([("bad", ("k",), ()), ("add", ("j",), (7,))])
    assert await redis.get("j") == b"7"


async def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    url = "redis://:secret@127.0.0.1:1/0"
    client = open_redis(url, retries=0)
    with pytest.raises(SharedStateUnavailable) as raised:
        await check_redis(client, url)
    assert "secret" not in str(raised.value) and "127.0.0.1:1" in str(raised.value)
    await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:p@h:1/0", "redis://h:1/0"),
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:p@ss@h:1/0", "redis://h:1/0"),
        ("unix:///tmp/x.sock", "unix:///tmp/x.sock"),
    ],
)
def test_addresses_are_shown_without_password(url: str, shown: str) -> None:
    assert without_password(url) == shown

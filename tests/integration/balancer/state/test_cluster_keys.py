"""Every command that we send to a Redis Cluster has the hash tag before its keys, and nowhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as sync_redis

import balancer
from balancer.state.cluster import HASH_TAG, with_hash_tag

SOURCE = Path(balancer.__file__).parents[1]
PACKAGES = ("balancer", "jobs", "producer_api", "workers", "api_roadbalancer")
CLIENTS = {"redis", "_redis", "pipe", "pipeline", "client"}


def used_methods() -> Iterator[str]:
    """Names of the methods that are called on clients and pipelines of Redis, as far as their variables' names tell."""
    for package in PACKAGES:
        for file in (SOURCE / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    of = node.func.value
                    name = of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else ""
                    if name in CLIENTS:
                        yield node.func.attr


@pytest.fixture
def known(redis_server: str) -> dict[str, tuple[int, int, int]]:
    """The server's commands: where the first and the last key are (-1: the last argument), and the step between them."""
    with sync_redis.Redis.from_url(redis_server) as client:
        specs = client.command()
    return {name.upper(): (spec["first_key_pos"], spec["last_key_pos"], spec["step_count"]) for name, spec in specs.items()}


def test_the_commands_in_use_are_known_by_where_their_keys_are(known: dict[str, tuple[int, int, int]]) -> None:
    used = {name.upper() for name in used_methods()} & known.keys()
    assert len(used) > 20, used
    assert {"HGETALL", "DEL", "ZINTER", "MGET", "EVALSHA"} <= used | {"DEL"}, "else nothing is found here"
    for name in sorted(used | {"DEL"}):  # `delete` in redis-py
        first, last, step = known[name]
        if name in ("EVALSHA", "ZINTER"):
            continue  # the next test
        assert (first, last) in ((0, 0), (1, 1), (1, -1)) and step in (0, 1), f"{name} needs a rule in balancer/state/cluster.py"
        tagged = with_hash_tag((name, "1", "2", "3"))[1:]
        keys = [] if not first else [str(n) for n in range(1, 4 if last == -1 else 2)]
        assert [arg for arg in tagged if isinstance(arg, bytes)] == [f"{HASH_TAG}{key}".encode() for key in keys], name


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        (("EVALSHA", "abc", 2, "rb:a", b"rb:b", "rb:c"), ("EVALSHA", "abc", 2, b"{rb}rb:a", b"{rb}rb:b", "rb:c")),
        (("ZINTER", 2, "a", "b", "WITHSCORES"), ("ZINTER", 2, b"{rb}a", b"{rb}b", "WITHSCORES")),
        (("SET", "{rb}a", "{rb}b"), ("SET", b"{rb}a", "{rb}b")),
        (("set", "a", "b"), ("set", b"{rb}a", "b")),
        (("SCRIPT LOAD", "return redis.call('GET', 'rb:x:' .. ARGV[1])"), None),
        (("CLIENT", "SETNAME", "rb:worker"), ("CLIENT", "SETNAME", "rb:worker")),
        (("PING",), ("PING",)),
        (("HSET", "a"), ("HSET", b"{rb}a")),
    ],
)
def test_keys_are_tagged_once_and_arguments_never(command: tuple[object, ...], sent: tuple[object, ...] | None) -> None:
    expected = sent or ("SCRIPT LOAD", "return redis.call('GET', '{rb}rb:x:' .. ARGV[1])")
    assert tuple(with_hash_tag(command)) == expected
    assert tuple(with_hash_tag(with_hash_tag(command))) == expected

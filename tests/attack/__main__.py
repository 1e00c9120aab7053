"""`python -m tests.attack up` or `compose`: attacks a system that is started for it. Exit code 1 if something has not held."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from tests.attack.key_holders import KEY_HOLDERS
from tests.attack.systems import Compose, System, Up
from tests.attack.unauthenticated import UNAUTHENTICATED, foreign_pages, locked_after_flush

Attack = Callable[[System], Awaitable[list[str]]]


def carry_out(system: System, attacks: tuple[Attack, ...]) -> int:
    """Try each attack, print how it went, and return how many have not been held."""
    broken = 0
    for attack in attacks:
        began = time.monotonic()
        found = asyncio.run(_whole(attack, system))
        broken += bool(found)
        verdict, name = "NOT HELD" if found else "held", attack.__name__.replace("_", " ")
        print(f"{verdict:<9} {name:<28} {time.monotonic() - began:5.1f} s", flush=True)
        for reason in found:
            print(f"{'':<10}{reason}", flush=True)
    return broken


async def _whole(attack: Attack, system: System) -> list[str]:
    return await attack(system)


def main(arguments: list[str]) -> int:
    if arguments not in (["up"], ["compose"]):
        print("usage: python -m tests.attack up | compose", file=sys.stderr)
        return 2
    if arguments == ["compose"]:
        with Compose.started() as composed:
            return int(carry_out(composed, (*UNAUTHENTICATED, *KEY_HOLDERS, locked_after_flush)) > 0)
    with Up.started(has_key=False) as without_key:
        broken = carry_out(without_key, (foreign_pages,))
    with Up.started() as system:
        broken += carry_out(system, (*UNAUTHENTICATED, *KEY_HOLDERS, locked_after_flush))
        left = system.stop()
    for reason in left:
        print(f"{'NOT HELD':<9} the end: {reason}")
    return int(broken + len(left) > 0)


sys.exit(main(sys.argv[1:]))

"""`python -m api_roadbalancer.mock`: the simulated server without the rest of the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from api_roadbalancer.mock.behaviour import Behaviour, BehaviourError, Fault
from api_roadbalancer.mock.server import DEFAULT_HOST, run

__all__ = ["main"]

DEFAULT_PORT = 8000


def main(arguments: Sequence[str] | None = None) -> int:
    options = vars(_parser().parse_args(arguments))
    host, port = options.pop("host"), options.pop("port")
    try:
        run(Behaviour(**options), host, port)
    except (BehaviourError, OSError) as exc:
        print(f"mock server: {exc}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    default = Behaviour()
    parser = argparse.ArgumentParser(
        prog="python -m api_roadbalancer.mock",
        description="A simulated model server that speaks OpenAI's chat format.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default=DEFAULT_HOST)
    add("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    add("--latency", type=float, default=default.latency, metavar="S", help="seconds before an answer")
    add("--jitter", type=float, default=default.jitter, metavar="S", help="up to this much more, at random")
    add("--slow-rate", type=float, default=0.0, metavar="X", help="share of requests that take longer")
    add("--slow-factor", type=float, default=default.slow_factor, metavar="X", help="so many times as long")
    add("--latency-per-token", type=float, default=0.0, metavar="S", help="between the chunks of a stream")
    add("--error-rate", type=float, default=0.0, metavar="X", help="share of requests answered 500")
    add("--rate-limit", type=float, default=0.0, metavar="RPM", help="requests a minute; 0: no limit")
    add("--max-concurrency", type=int, default=0, metavar="N", help="more at once get 503; 0: no limit")
    add("--knee", type=int, default=0, metavar="N", help="more at once slow each other down; 0: they don't")
    add("--decay", type=float, default=0.0, metavar="X", help="by how much the throughput falls beyond the knee")
    add("--cache-blocks", type=int, default=0, metavar="N", help="blocks of 256 characters of prompts that are kept")
    add("--prefill", type=float, default=0.0, metavar="S", help="seconds for each block of a prompt that is not kept")
    add("--models", type=_list, default=default.models, metavar="A,B", help="'*' takes any name")
    add("--no-track-keys", dest="track_keys", action="store_false", help="don't count by request")
    add("--fault", choices=list(Fault), type=str, default=default.fault, help="what goes wrong")
    add("--fault-rate", type=float, default=1.0, metavar="X", help="share of requests that meet the fault")
    add("--retry-after", type=float, metavar="S", help="Retry-After of the 429 and 503 faults")
    add("--drip-gap", type=float, default=default.drip_gap, metavar="S", help="pause in a slow drip")
    add("--answer-bytes", type=int, default=0, metavar="N", help="fill an answer's text up to so many")
    add("--fail-custom", type=_list, default=(), metavar="A,B", help="refuse bodies that contain one of these")
    add("--break-custom", type=_list, default=(), metavar="A,B", help="fail (500) at bodies that contain one of these")
    return parser


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


if __name__ == "__main__":
    sys.exit(main())

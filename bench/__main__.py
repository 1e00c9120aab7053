"""`python -m bench [names...]`: measures, prints tables, and writes everything to bench/results/."""

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.benchmarks import BENCHMARKS, Benchmark
from bench.machine import describe_machine
from bench.report import Run, as_json, as_markdown, from_json, print_tables
from bench.results import BenchmarkFailed, Figure, Outcome, summarise

__all__ = ["main"]

RESULTS = Path(__file__).resolve().parent / "results"
INTERRUPTED = 130
NARROWEST = 160
"""Columns of the tables where no terminal sets a width."""

log = logging.getLogger("bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for. Return 0 if everything could be measured (targets may be missed), 1 if not, 2 for bad usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    if options.earlier:
        run = _read(options.earlier)
        if run is None:
            return 2
    else:
        try:
            run = asyncio.run(_measure(options.names or list(BENCHMARKS), options.quick, options.repeat))
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("interrupted; everything that was started has been ended", file=sys.stderr)
            return INTERRUPTED
        _write(run, options.json)
    if options.markdown:
        print(as_markdown(run), end="")
    else:
        print_tables(run, Console() if sys.stdout.isatty() else Console(width=NARROWEST))
    return 1 if any(outcome.error for outcome in run.outcomes) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", type=_name, help=f"{', '.join(BENCHMARKS)}; default all")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works; no figures to quote")
    parser.add_argument("--repeat", type=_positive, default=1, metavar="N", help="rounds; the median counts")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where the JSON goes; bench/results/<time>.json if left out")
    parser.add_argument("--markdown", action="store_true", help="print Markdown in place of tables")
    parser.add_argument("--from", dest="earlier", type=Path, metavar="PATH", help="measure nothing: show the JSON of a run")
    return parser


def _name(text: str) -> str:
    if text not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"there is no benchmark {text!r}; there are {', '.join(BENCHMARKS)}")
    return text


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _read(path: Path) -> Run | None:
    try:
        return from_json(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError) as exc:
        print(f"{path} is not the JSON of a run: {exc!r}", file=sys.stderr)
        return None


async def _measure(names: Sequence[str], quick: bool, rounds: int) -> Run:
    """Measure one benchmark after the other. SIGTERM ends everything, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    machine = await asyncio.to_thread(describe_machine)
    outcomes = [await _outcome(BENCHMARKS[name], quick, rounds) for name in dict.fromkeys(names)]
    return Run(started_at, quick, rounds, machine, tuple(outcomes))


async def _outcome(benchmark: Benchmark, quick: bool, rounds: int) -> Outcome:
    started = time.monotonic()
    found: list[Sequence[Figure]] = []
    error = ""
    for number in range(1, rounds + 1):
        log.info("%s, round %d of %d", benchmark.name, number, rounds)
        try:
            async with asyncio.timeout(benchmark.limit):
                found.append(await benchmark.measure(quick))
        except TimeoutError:
            error = f"round {number} was ended after {benchmark.limit:g} s"
        except BenchmarkFailed as exc:
            error = f"round {number}: {exc}"
        except Exception as exc:
            log.exception("%s broke", benchmark.name)
            error = f"round {number} broke: {exc!r}"
    return Outcome(benchmark.name, benchmark.question, summarise(found), time.monotonic() - started, error)


def _write(run: Run, path: Path | None) -> None:
    target = path or RESULTS / f"{run.started_at.replace(':', '').replace('+0000', 'Z')}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(as_json(run))
    log.info("written to %s", target)


if __name__ == "__main__":
    sys.exit(main())

"""The table of benchmarks. A new one is a module with a BENCHMARK and a row here."""

from bench.benchmarks import (
    abort,
    bulk,
    concurrency,
    embeddings,
    failover,
    gateway,
    library,
    memory,
    overhead,
    prefix,
    slots,
    submit,
    tail,
)
from bench.benchmarks.base import Benchmark

__all__ = ["BENCHMARKS", "Benchmark"]

_MODULES = (bulk, slots, submit, memory, failover, overhead, library, gateway, abort, tail, concurrency, prefix, embeddings)
BENCHMARKS: dict[str, Benchmark] = {module.BENCHMARK.name: module.BENCHMARK for module in _MODULES}

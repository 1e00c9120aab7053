"""What a request through the API costs, beside the same request sent straight to the model server and through LiteLLM's proxy."""

import logging
import secrets
from dataclasses import dataclass

import yaml

from api_roadbalancer.processes.ports import free_port
from bench.benchmarks.base import Benchmark
from bench.environment import LITELLM, competitors_python
from bench.http_load import KEY_VARIABLE
from bench.processes import Process
from bench.results import BenchmarkFailed, Figure, at_least, at_most
from bench.stage import ModelServer, Stage, measured

__all__ = ["BENCHMARK"]

IN_FLIGHT = 64
LOAD_SECONDS = 30.0
"""After them no more requests are sent at once, however many are left."""
GRACE = 5.0
MILLI = 1e3
RATE = "requests/s"
OURS = f"Roadbalancer, {IN_FLIGHT} in flight"
OUR_CPU = "Roadbalancer, CPU"
ADDED = "Roadbalancer adds to a request"
THEIRS = f"LiteLLM proxy, {IN_FLIGHT} in flight"
LITELLM_VARIABLES = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
}
"""Nothing is fetched at the start, no .env file is read, and only errors are logged."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Counts:
    """Requests to one contender: with many in flight, one at a time, and streams one at a time."""

    together: int
    sequential: int
    streams: int


@dataclass(frozen=True, slots=True)
class _Size:
    direct: int
    ours: _Counts
    litellm: _Counts


FULL = _Size(direct=20_000, ours=_Counts(6_000, 500, 500), litellm=_Counts(600, 100, 100))
QUICK = _Size(direct=500, ours=_Counts(200, 20, 20), litellm=_Counts(64, 5, 5))


@dataclass(frozen=True, slots=True)
class _Gateway:
    """A gateway that answers. `url` is its base URL, with /v1; `key` is what it asks for."""

    process: Process
    url: str
    key: str


@dataclass(frozen=True, slots=True)
class _Found:
    """Requests per second, CPU ms of a request, and in ms at p50: straight to the model server, and what the gateway adds."""

    rate: float
    cpu: float
    direct: float
    added: float
    direct_first: float
    added_first: float


async def _measure(quick: bool) -> list[Figure]:
    size = QUICK if quick else FULL
    with Stage() as stage:
        server = await stage.model_server("m")
        log.info("straight to the model server")
        direct = await _together(stage, _Gateway(server.process, server.url, "none"), size.direct)
        ours = await _through(stage, server, await _roadbalancer(stage, server), size.ours)
        try:
            proxy = await _litellm(stage, server)
        except BenchmarkFailed as exc:
            return [*_direct(direct["rate"], ours), *_ours(ours), *_theirs(None, f"skipped: {exc}")]
        theirs = await _through(stage, server, proxy, size.litellm)
    return [*_direct(direct["rate"], ours), *_ours(ours), *_theirs(theirs)]


async def _roadbalancer(stage: Stage, server: ModelServer) -> _Gateway:
    """Start `roadbalancer api` with one endpoint; everything but its slots is as it comes."""
    log.info("through roadbalancer api")
    stage.configure([("m", server)], slots=IN_FLIGHT)
    port = free_port()
    options = ["api", "--config", str(stage.config), "--port", str(port)]
    key = _new_key()
    process = stage.start("api", "-m", "api_roadbalancer", *options, grace=GRACE, variables={"ROADBALANCER_API_KEYS": key})
    await stage.until_it_answers(process, port)
    return _Gateway(process, f"http://127.0.0.1:{port}/v1", key)


async def _litellm(stage: Stage, server: ModelServer) -> _Gateway:
    """Start LiteLLM's proxy with the same endpoint, without a database and a cache. Raises BenchmarkFailed."""
    log.info("through LiteLLM's proxy")
    python = await competitors_python(LITELLM)
    parameters = {"model": "openai/simulated", "api_base": server.url, "api_key": "none"}
    config = stage.folder / "litellm.yaml"
    config.write_text(yaml.safe_dump({"model_list": [{"model_name": "simulated", "litellm_params": parameters}]}))
    port = free_port()
    options = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    key = _new_key()
    variables = LITELLM_VARIABLES | {"LITELLM_MASTER_KEY": key}
    process = stage.start("litellm", str(python.with_name("litellm")), *options, grace=GRACE, variables=variables)
    await stage.until_it_answers(process, port, "/health/liveliness")
    return _Gateway(process, f"http://127.0.0.1:{port}/v1", key)


def _new_key() -> str:
    """Return a key for one run. LiteLLM's proxy does not start without one, so both gateways have one to check."""
    return f"sk-{secrets.token_hex(32)}"


async def _through(stage: Stage, server: ModelServer, gateway: _Gateway, counts: _Counts) -> _Found:
    """Put every load on a gateway, then end it, so that the next one has the machine to itself."""
    many = await _together(stage, gateway, counts.together)
    whole = await _alternately(stage, server, gateway, counts.sequential)
    first = await _alternately(stage, server, gateway, counts.streams, "--stream")
    gateway.process.end()
    return _Found(
        rate=many["rate"],
        cpu=MILLI * many["cpu"],
        direct=MILLI * whole["direct"],
        added=MILLI * (whole["through"] - whole["direct"]),
        direct_first=MILLI * first["direct"],
        added_first=MILLI * (first["through"] - first["direct"]),
    )


async def _together(stage: Stage, gateway: _Gateway, requests: int) -> dict[str, float]:
    bounds = ["--in-flight", str(IN_FLIGHT), "--requests", str(requests), "--seconds", str(LOAD_SECONDS)]
    return await _load(stage, gateway, "together", gateway.url, *bounds, "--pid", str(gateway.process.pid))


async def _alternately(stage: Stage, server: ModelServer, gateway: _Gateway, requests: int, *options: str) -> dict[str, float]:
    return await _load(stage, gateway, "alternate", server.url, gateway.url, "--requests", str(requests), *options)


async def _load(stage: Stage, gateway: _Gateway, *words: str) -> dict[str, float]:
    return await measured(stage.start("load", "-m", "bench.http_load", *words, variables={KEY_VARIABLE: gateway.key}))


def _direct(rate: float, ours: _Found) -> list[Figure]:
    return [
        Figure(f"direct, {IN_FLIGHT} in flight", rate, RATE, note="no gateway: what the load and the model server can do"),
        Figure("direct, one at a time", ours.direct, "ms", note="p50"),
        Figure("direct, first chunk of a stream", ours.direct_first, "ms", note="p50"),
    ]


def _ours(found: _Found) -> list[Figure]:
    return [
        Figure(OURS, found.rate, RATE),
        Figure(OUR_CPU, found.cpu, "ms", note=f"of the API's process for a request, {IN_FLIGHT} in flight"),
        Figure(ADDED, found.added, "ms", at_most(1.5), note="p50, one at a time"),
        Figure("Roadbalancer adds to a first chunk", found.added_first, "ms", at_most(2), note="p50, one at a time"),
    ]


def _theirs(found: _Found | None, note: str = "") -> list[Figure]:
    """Return the figures without values if there was no proxy; `note` says why."""
    rate, cpu, added, first = (found.rate, found.cpu, found.added, found.added_first) if found else (None,) * 4
    return [
        Figure(THEIRS, rate, RATE, at_least(22), OURS, note),
        Figure("LiteLLM proxy, CPU", cpu, "ms", at_most(0.046), OUR_CPU, note),
        Figure("LiteLLM proxy adds to a request", added, "ms", at_most(0.06), ADDED, note),
        Figure("LiteLLM proxy adds to a first chunk", first, "ms", note=note),
    ]


BENCHMARK = Benchmark(
    "gateway", "a request through the API, beside none and LiteLLM's proxy, zero-latency server", _measure, 600.0
)

"""`run`: the bulk call from a program or a notebook."""

import asyncio
import hashlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from api_roadbalancer.bulk.answers import Answers
from api_roadbalancer.bulk.display import NoDisplay, TerminalDisplay
from api_roadbalancer.bulk.run import BulkRequest, BulkRun
from api_roadbalancer.named_endpoints import NamedEndpoints
from api_roadbalancer.session import Session, open_session
from api_roadbalancer.supervisor import Supervisor
from api_roadbalancer.tables import RowRequests, table_of
from balancer.usage.pricing import has_no_price
from jobs.checks import parse_checks
from jobs.cost.projection import sufficient_cap
from jobs.errors import CapReached, InvalidRequest
from jobs.node import open_node
from jobs.records import Job
from jobs.states import JobStatus
from workers.messages import celery_wake

__all__ = ["run"]

_ONE_AT_A_TIME = threading.Lock()
"""Runs of one process follow each other: they share the store's server, and its workers know one configuration."""


def run(
    data: Any,
    *,
    prompt: str | None = None,
    system: str | None = None,
    messages_column: str | None = None,
    image_column: str | None = None,
    fields: Mapping[str, Any] | None = None,
    schema: Any = None,
    checks: Sequence[str | Mapping[str, Any]] = (),
    recheck: Mapping[str, Any] | None = None,
    endpoints: Sequence[str] = (),
    model: str | None = None,
    api_key_env: str | None = None,
    config: str | Path | None = None,
    max_cost: float | None = None,
    window: str = "24h",
    workers: int | None = None,
    id: str | None = None,
    progress: bool = True,
) -> Answers:
    """Ask about each row of a table, and return the answers, in the order of the rows.

    `data` is a path (CSV, TSV, JSON, JSON lines, text, Parquet, Arrow, or a folder of them), a data frame of pandas or polars, a
    `pyarrow.Table`, a data set of Hugging Face's, or any iterable of mappings or of texts. `prompt` and `system` are templates: a
    column's name in braces stands for its value. Texts are asked as they are if there is no prompt. `messages_column` names a
    column of messages instead, `image_column` one with an image's path or URL. `fields` go into each request, such as
    `{"max_tokens": 40}`.

    With `schema` (a pydantic model, or a JSON schema) the endpoints are asked for JSON, and the answers are validated objects.
    `checks` are what answers have to pass beside it, in order: `"not_empty"`, `{"finish_reason": "stop"}`, `{"regex": "..."}`,
    `{"max_chars": 200}`. What does not pass is asked for again, by default twice and with the fault told:
    `recheck={"attempts": 2, "feedback": True, "model": None}`.

    The requests go to `endpoints` (URLs, with the key in the environment variable `api_key_env`), or to those of the
    configuration file `config`, as on the command line. `model` is asked for. At `max_cost` (USD) CapReached is raised; all has
    to be done within `window` (`24h`, `30m`). `workers` are processes, one for each core (at most four) if not given.

    What is finished is kept, whatever stops the program: the same call goes on, or returns what is done. `id` names the job
    instead of its content. Safe in a notebook, on any thread, and in a script without a guard around its main part.

    Raises InvalidRequest and ConfigurationError for what can't be used, with nothing sent, and KeyboardInterrupt when it is
    interrupted.
    """
    table = table_of(data)
    if prompt is None and messages_column is None and len(table.columns) == 1:
        prompt = f"{{{table.columns[0]}}}"
    asked = dict(fields or {})
    if model is not None and not endpoints:
        asked["model"] = model
    kept_checks = _kept_checks(schema, checks, recheck)
    if schema is not None:
        asked.setdefault("response_format", _response_format(schema))
    named = NamedEndpoints.of(endpoints, model if endpoints else None, api_key_env)
    requests = RowRequests(table, prompt, system, asked, messages_column, image_column)
    digest = requests.digest()
    request = BulkRequest(
        f"id\n{id}" if id is not None else f"rows\n{digest}{kept_checks}",
        f"{Path(table.name).name}.jsonl",
        requests.chunks,
        window,
        max_cost,
        workers,
        hashlib.sha256(f"{digest}{kept_checks}".encode()).hexdigest() if id is not None else "",
        checks=kept_checks,
    )
    console = Console(stderr=True)
    display = TerminalDisplay(console, console.is_terminal or console.is_jupyter) if progress else NoDisplay()
    settings = Path(config) if config is not None else None
    job, store = _ended(_Call(request, settings, named, display))

    def again() -> Job:
        return _ended(_Call(replace(request, retries_failed=True), settings, named, display))[0]

    return Answers(data, table, job, store, again, schema if _is_model(schema) else None, schema is not None)


def _kept_checks(schema: Any, checks: Sequence[str | Mapping[str, Any]], recheck: Mapping[str, Any] | None) -> str:
    said = [*([{"schema": _json_schema(schema)}] if schema is not None else []), *checks]
    return parse_checks(said, {"feedback": True, **(recheck or {})} if said else recheck)


def _response_format(schema: Any) -> dict[str, Any]:
    described = _json_schema(schema)
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", str(described.get("title") or "answer"))[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": described}}


def _json_schema(schema: Any) -> Mapping[str, Any]:
    if isinstance(schema, Mapping):
        return schema
    if _is_model(schema):
        described: Mapping[str, Any] = schema.model_json_schema()
        return described
    raise InvalidRequest(f"schema is a pydantic model or a JSON schema, not {schema!r}")


def _is_model(schema: Any) -> bool:
    return isinstance(schema, type) and issubclass(schema, BaseModel)


def _ended(call: "_Call") -> tuple[Job, str]:
    """Return the job of a call that has ended, and the store. Raises as `run` does."""
    job, store = _on_own_loop(call)
    if job is None:
        raise KeyboardInterrupt("stopped; what is finished is kept, and the same call goes on from here")
    if job.paused:
        raise CapReached(f"{job.id} is paused at its cap; the same call with max_cost={sufficient_cap(job):.12g} goes on")
    if job.status is JobStatus.FAILED:
        raise InvalidRequest("; ".join(bad.message for bad in job.errors))
    return job, store


@dataclass(slots=True)
class _Call:
    """A run with Redis and workers of its own."""

    request: BulkRequest
    config: Path | None
    endpoints: NamedEndpoints | None
    display: TerminalDisplay | NoDisplay
    stop: Callable[[], object] = lambda: None
    """Call it from any thread."""

    def go(self) -> tuple[Job | None, str]:
        """Return the job, None if it was stopped, and the store that has its files."""
        with ExitStack() as stack:
            stack.enter_context(_ONE_AT_A_TIME)
            session = stack.enter_context(open_session(self.config, self.endpoints))
            supervisor = stack.enter_context(Supervisor())
            if not session.configuration.endpoints:
                self.display.say("No endpoint is configured: a SIMULATED one answers, with invented text.")
            if self.endpoints is not None and self.request.max_cost is not None:
                self._lift_a_cap_without_prices(session)
            session.start_simulations(supervisor)
            return asyncio.run(self._watched(session, supervisor)), session.configuration.store

    def _lift_a_cap_without_prices(self, session: Session) -> None:
        """Drop the cap where nothing can count against it: at servers of one's own that are named by their addresses alone."""
        if all(has_no_price(endpoint) for endpoint in session.configuration.endpoints):
            names = ", ".join(endpoint.name for endpoint in session.configuration.endpoints)
            self.display.say(f"max_cost has no effect: {names} has no price; a configuration file can give it one")
            self.request = replace(self.request, max_cost=None)

    async def _watched(self, session: Session, supervisor: Supervisor) -> Job | None:
        loop = asyncio.get_running_loop()
        bulk = BulkRun(self.request, session, supervisor, self.display)
        self.stop = lambda: loop.call_soon_threadsafe(bulk.interrupted.set)
        configuration, redis_url = session.configuration, session.redis_url
        async with open_node(configuration, redis_url, celery_wake(configuration, redis_url)) as node:
            with self.display.opened():
                return await bulk.go(node)


def _on_own_loop(call: _Call) -> tuple[Job | None, str]:
    """Run a call on a thread of its own: the caller's may have a loop that runs, as in a notebook."""
    with ThreadPoolExecutor(1, thread_name_prefix="roadbalancer") as pool:
        future = pool.submit(call.go)
        try:
            return future.result()
        except KeyboardInterrupt:
            call.stop()
            future.result()
            raise

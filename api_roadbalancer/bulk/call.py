"""`run`: the bulk call from a program or a notebook."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from api_roadbalancer.bulk.answers import Answers
from api_roadbalancer.bulk.calls import Calls
from api_roadbalancer.bulk.run import BulkRequest
from api_roadbalancer.bulk.schemas import is_model, kept_checks, response_format
from api_roadbalancer.tables import RowRequests, table_of
from jobs.records import Job

__all__ = ["run"]


def run(
    data: Any,
    *,
    prompt: str | None = None,
    system: str | None = None,
    embed: str | None = None,
    messages_column: str | None = None,
    image_column: str | None = None,
    fields: Mapping[str, Any] | None = None,
    schema: Any = None,
    checks: Sequence[str | Mapping[str, Any]] = (),
    recheck: Mapping[str, Any] | None = None,
    dedupe: bool | None = None,
    cache: str = "",
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
    `{"max_tokens": 40}`. With `embed`, a template too, the answers are embeddings: `answers.embeddings`.

    With `schema` (a pydantic model, or a JSON schema) the endpoints are asked for JSON, and the answers are validated objects.
    `checks` are what answers have to pass beside it, in order: `"not_empty"`, `{"finish_reason": "stop"}`, `{"regex": "..."}`,
    `{"max_chars": 200}`, `{"python": "module:function"}` (see jobs.checks.python_checks). A request whose answer fails a check is
    sent again, twice by default, with the reason added to it: `recheck={"attempts": 2, "feedback": True, "model": None}`.

    A request that is the same as an earlier one is not sent: its row gets the same answer, and the cost counts once. Without
    `dedupe`, this holds for requests whose answers would be the same (a temperature of 0 or a `seed` in `fields`); True: for all.
    With `cache="30d"`, a request that another job has had answered within that time gets that answer.

    The requests go to `endpoints` (URLs, with the key in the environment variable `api_key_env`), or to those of the
    configuration file `config`, as on the command line. `model` is asked for. At `max_cost` (USD) CapReached is raised; all has
    to be done within `window` (`24h`, `30m`). `workers` are processes: if not given, one for each core, at most four, and at
    most one for 2,000 lines.

    What is finished is kept, whatever stops the program: the same call goes on, or returns what is done. `id` names the job
    instead of its content. Safe in a notebook, on any thread, and in a script without a guard around its main part.

    Raises InvalidRequest and ConfigurationError for what can't be used, with nothing sent, and KeyboardInterrupt when it is
    interrupted.
    """
    table = table_of(data)
    if prompt is None and messages_column is None and embed is None and len(table.columns) == 1:
        prompt = f"{{{table.columns[0]}}}"
    asked = dict(fields or {})
    if model is not None and not endpoints:
        asked["model"] = model
    kept = kept_checks(schema, checks, recheck)
    if schema is not None:
        asked.setdefault("response_format", response_format(schema))
    calls = Calls.of(endpoints, model, api_key_env, config, progress)
    requests = RowRequests(table, prompt, system, asked, messages_column, image_column, embed)
    digest = requests.digest()
    deduped = "" if dedupe is None else f"dedupe {dedupe}"
    request = BulkRequest(
        f"id\n{id}" if id is not None else f"rows\n{digest}{kept}{deduped}",
        f"{Path(table.name).name}.jsonl",
        requests.chunks,
        window,
        max_cost,
        workers,
        hashlib.sha256(f"{digest}{kept}{deduped}".encode()).hexdigest() if id is not None else "",
        checks=kept,
        dedupe=dedupe,
        cache=cache,
    )
    job, store = calls.ended(request)

    def again() -> Job:
        return calls.ended(replace(request, retries_failed=True))[0]

    return Answers(data, table, job, store, again, schema if is_model(schema) else None, schema is not None, embed is not None)

"""The arguments of `run`, and the command line that continues a paused run."""

import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from api_roadbalancer.bulk.run import BulkRequest
from api_roadbalancer.processes.named_endpoints import NamedEndpoints
from api_roadbalancer.progress import dollars, job_line
from api_roadbalancer.tables import (
    ANSWER_COLUMNS,
    VECTOR_COLUMNS,
    RowRequests,
    check_columns,
    is_pattern,
    is_table,
    is_table_output,
    open_table,
)
from api_roadbalancer.user_files.input_format import check_requests
from api_roadbalancer.user_files.local_files import digest_of, read_chunks
from jobs.checks.answer_checks import parse_checks
from jobs.checks.python_checks import check_name, load_function
from jobs.cost.projection import sufficient_cap
from jobs.errors import InvalidRequest
from jobs.intake.requests import Canary
from jobs.records import Job
from jobs.records.states import PauseReason

__all__ = ["RunRequest", "Templates", "checks_from_options", "default_out", "how_to_go_on", "place_of"]

OTHER_FORMATS = (".arrow", ".feather", ".xlsx", ".xls", ".json", ".gz", ".zst")
"""Names that promise something else than what is written."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What is to be done: the input, where the output goes, how long it may take, and what it may cost (USD).

    With `force` the output may replace a file that holds something else. `endpoints` stand instead of the configured ones. `rows`
    make the requests where the input is a table; with `plain`, rows come out as JSON objects. `elsewhere` is what the input is
    called where `source` is a copy of it. With `fail_fast` it ends when no endpoint has been up for a while. `confirms` lets the
    job go on after its `canary`.
    """

    source: Path
    out: Path
    window: str
    workers: int | None
    config: Path | None
    max_cost: float | None
    force: bool = False
    endpoints: NamedEndpoints | None = None
    rows: RowRequests | None = None
    plain: bool = False
    elsewhere: str = ""
    retries_failed: bool = False
    checks: str = ""
    dedupe: bool | None = None
    canary: Canary | None = None
    confirms: bool = False
    fail_fast: bool = False
    cache: str = ""
    price_class: str = ""

    @property
    def name(self) -> str:
        """What the user calls the input."""
        return self.elsewhere or str(self.source)

    @property
    def writes_rows(self) -> bool:
        """Whether the output holds the input's rows with their answers, rather than results in OpenAI's format."""
        return self.rows is not None and (self.plain or is_table_output(self.out))

    def bulk(self) -> BulkRequest:
        """Return what is to be answered: the same job for the same input and output. Reads the whole input."""
        digest = digest_of(self.source) if self.rows is None else self.rows.digest()
        name = self.elsewhere or str(self.source.absolute())
        dedupe = "" if self.dedupe is None else f"\ndedupe {self.dedupe}"
        identity = f"{name}\n{self.out.absolute()}\n{digest}{self.checks}{dedupe}"
        return BulkRequest(
            identity,
            self.source.name,
            self._chunks,
            self.window,
            self.max_cost,
            self.workers,
            retries_failed=self.retries_failed,
            checks=self.checks,
            dedupe=self.dedupe,
            canary=self.canary,
            fail_fast=self.fail_fast,
            cache=self.cache,
            price_class=self.price_class,
        )

    def _chunks(self) -> AsyncIterator[bytes]:
        return read_chunks(self.source) if self.rows is None else self.rows.chunks()

    def command(self, max_cost: float | None = None, confirms: bool = False) -> str:
        """Return the command line that goes on with another cap, or that confirms the canary."""
        named = ["-o", str(self.out)] if self.out != default_out(self.source, self.rows is not None, self.plain) else []
        settings = ["--config", str(self.config)] if self.config else []
        forced = ["--force"] if self.force else []
        endpoints = self.endpoints.words() if self.endpoints else []
        cap = ["--max-cost", f"{max_cost:.12g}"] if max_cost is not None else []
        confirmed = [*self._canary_words(), "--yes"] if confirms else []
        rows = [*self.rows.words(), *(["--plain"] if self.plain else [])] if self.rows is not None else []
        words = ["roadbalancer", "run", self.name, *rows, *named, *forced, *settings, *endpoints, *cap, *confirmed]
        return shlex.join(words)

    def _canary_words(self) -> list[str]:
        if self.canary is None:
            return []
        return ["--canary", str(self.canary.lines), *(["--canary-random"] if self.canary.random else [])]


def default_out(source: Path, has_rows: bool = False, plain: bool = False) -> Path:
    """Return where the results of an input go by default: `in.jsonl` has `in.results.jsonl`, the rows of `in.csv` have
    `in.answers.csv`, or `in.answers.jsonl` if they are plain."""
    rows = f"{source.stem}.answers{'.jsonl' if plain else '.csv'}"
    return source.with_name(rows if has_rows else f"{source.stem}.results.jsonl")


def place_of(source: Path, out: Path | None, has_rows: bool, plain: bool) -> Path:
    """Return where the results go. Raises InvalidRequest for a format that they can't have."""
    if plain and not has_rows:
        raise InvalidRequest("--plain goes with --prompt, for the rows of a table")
    if out is None:
        if is_pattern(source):
            raise InvalidRequest(f"{source} names several files; name that of the results with -o")
        return default_out(source, has_rows, plain)
    if out.suffix.lower() in OTHER_FORMATS:
        raise InvalidRequest(f"{out}: results are written as .jsonl, and the rows of a table as .csv, .tsv, .parquet or .jsonl")
    if is_table_output(out) and not has_rows:
        raise InvalidRequest(f"{out}: rows come out where rows go in; use --prompt with a table, or name a .jsonl file with -o")
    if is_table_output(out) and plain:
        raise InvalidRequest(f"{out}: --plain is for a .jsonl file; leave it out, or name one with -o")
    return out


@dataclass(frozen=True, slots=True)
class Templates:
    """What is made of the rows of a table, as the command line says it."""

    prompt: str | None = None
    system: str | None = None
    messages_column: str | None = None
    image_column: str | None = None
    fields: Sequence[str] = ()
    embed: str | None = None

    def rows_of(self, source: Path) -> RowRequests | None:
        """Return what makes requests of an input that is a table; None for one that holds requests. Raises InvalidRequest."""
        if self.prompt is None and self.messages_column is None and self.embed is None:
            if is_table(source):
                columns = ", ".join(open_table(source).columns)
                example = '--prompt "Translate into Korean: {text}"'
                raise InvalidRequest(
                    f"{source} is a table; say what to ask about a row, such as {example}. Its columns: {columns}"
                )
            if self.system is not None or self.fields or self.image_column is not None:
                raise InvalidRequest("--system, --field and --image-column go with --prompt, for the rows of a table")
            check_requests(source)
            return None
        table = open_table(source)
        check_columns(table, ANSWER_COLUMNS if self.embed is None else VECTOR_COLUMNS)
        fields = dict(map(_field, self.fields))
        return RowRequests(table, self.prompt, self.system, fields, self.messages_column, self.image_column, self.embed)


def checks_from_options(checks: Sequence[str], schema: Path | None, recheck: int | None) -> str:
    """Return the checks of `--check NAME[=VALUE]`, `--schema FILE` and `--recheck N` (see jobs.checks).

    A request whose answer fails a check is sent again with the reason added to it. Raises InvalidRequest.
    """
    listed: list[Any] = []
    if schema is not None:
        try:
            listed.append({"schema": orjson.loads(schema.read_bytes())})
        except (OSError, orjson.JSONDecodeError) as exc:
            raise InvalidRequest(f"--schema {schema} can't be read as JSON: {exc}") from exc
    for check in checks:
        name, sign, value = check.partition("=")
        if name == "python" and sign:
            load_function(check_name(value))
        listed.append({name: _json_or_text(value) if name == "max_chars" else value} if sign else name)
    if not listed:
        return parse_checks((), None if recheck is None else {"attempts": recheck})
    return parse_checks(listed, {"feedback": True, **({} if recheck is None else {"attempts": recheck})})


def _field(given: str) -> tuple[str, Any]:
    """Read `NAME=VALUE`; the value is JSON, or else text."""
    name, sign, value = given.partition("=")
    if not sign or not name:
        raise InvalidRequest(f"--field {given}: write NAME=VALUE, such as max_tokens=40")
    return name, _json_or_text(value)


def _json_or_text(value: str) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def how_to_go_on(request: RunRequest, job: Job) -> str:
    """Say why a job is paused, and which commands go on with it and show what is finished."""
    settings = f" --config {shlex.quote(str(request.config))}" if request.config else ""
    if job.paused is PauseReason.CANARY:
        lines = (f"paused     after the canary of {job.canary:,} requests", f"go on      {request.command(confirms=True)}")
        return "\n".join([*lines, f"stop       roadbalancer cancel {job.id}{settings}"])
    cap = dollars(job.max_cost or 0.0)
    return "\n".join(
        [
            f"paused     the cap of {cap} is reached; {job.ledger.done:,} of {job.ledger.total:,} lines are done and kept",
            f"           {job_line(job)}",
            f"go on      {request.command(sufficient_cap(job))}",
            f"so far     roadbalancer results {job.id}{settings} -o FILE",
        ]
    )

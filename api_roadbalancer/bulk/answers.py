"""The answers of a bulk call, read from the job's files when they are asked for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from api_roadbalancer.progress import money
from api_roadbalancer.tables import (
    ANSWER_COLUMNS,
    VECTOR_COLUMNS,
    Row,
    Table,
    answered_groups,
    check_columns,
    table_chunks,
    with_vectors,
)
from api_roadbalancer.user_files.extra import pyarrow
from api_roadbalancer.user_files.local_files import write_whole
from jobs.records import Job, Tokens
from jobs.results.formats import line_number
from jobs.storage.byte_streams import lines_of
from jobs.storage.object_store import ObjectStore, content_path

__all__ = ["Answers", "read_lines_of"]

T = TypeVar("T")


class Answers:
    """One answer for each row, in the order of the rows. Nothing of it is in memory before it is asked for."""

    def __init__(
        self,
        data: Any,
        table: Table,
        job: Job,
        store: str,
        again: Callable[[], Job] | None = None,
        model: type[BaseModel] | None = None,
        is_json: bool = False,
        embeds: bool = False,
    ) -> None:
        """`again` sends the rows that failed again and returns the job when it has ended. With `is_json` answers are JSON, with
        `model` objects of it."""
        self._model = model
        self._is_json = is_json or model is not None
        self._embeds = embeds
        self._again = again
        self._data = data
        self._table = table
        self._job = job
        self._store = store
        self._answers: list[Row] | None = None

    def __len__(self) -> int:
        return self._job.ledger.total

    def __repr__(self) -> str:
        ledger = self._job.ledger
        return f"<Answers {self.job_id}: {ledger.completed:,} of {ledger.total:,} rows completed, {money(self._job)}>"

    @property
    def job_id(self) -> str:
        """The id of the job, for `roadbalancer status` and the other commands."""
        return self._job.id

    @property
    def cost(self) -> float | None:
        """What it has cost (USD), without the rows whose price is not known (`unpriced`); None if that is none of them."""
        return None if self.unpriced and not self._job.cost else self._job.cost

    @property
    def unpriced(self) -> int:
        """Rows whose cost is not known."""
        return self._job.unpriced

    @property
    def tokens(self) -> Tokens:
        """The tokens of all rows."""
        return self._job.tokens

    @property
    def text(self) -> Any:
        """The answers, as the input was: a Series for a data frame, a column for Arrow data, else a list. A row that failed has
        None."""
        return _like(self._data, [answer.get("answer") for answer in self._all()])

    @property
    def embeddings(self) -> list[list[float] | None]:
        """The embeddings; None where a row failed."""
        return [answer["embedding"] for answer in self._all()]

    @property
    def objects(self) -> list[Any]:
        """The answers as objects of the schema's model, or as what their JSON says; None where a row failed."""
        return [self._object(answer["answer"]) for answer in self._all()]

    def _value(self, answer: Row) -> Any:
        return answer["embedding"] if self._embeds else self._object(answer["answer"])

    def _object(self, text: str | None) -> Any:
        if text is None or not self._is_json:
            return text
        return self._model.model_validate_json(text) if self._model is not None else orjson.loads(text)

    @property
    def rows(self) -> list[Row]:
        """What is known of each answer: `answer`, `error`, `finish_reason`, `prompt_tokens`, `completion_tokens`, `cost`,
        `endpoint`, `model` and `attempts`."""
        return self._all()

    @property
    def errors(self) -> dict[int, str]:
        """Why rows have no answer, by their positions (from 0)."""
        return {number: answer["error"] for number, answer in enumerate(self._all()) if answer["error"] is not None}

    def __iter__(self) -> Iterator[Any]:
        """Yield each row's answer: an object if there is a schema, an embedding if those were asked for, else a text; None where
        it failed."""
        return map(self._value, self._all())

    def __getitem__(self, index: int) -> Any:
        """Return the answer of one row, as iteration does."""
        return self._value(self._all()[index])

    def retry(self) -> "Answers":
        """Send the rows that failed again, and take their answers in; the others stay, and what was paid stays counted. Returns
        itself. Nothing happens if none has failed."""
        if self._again is not None and self._job.ledger.completed < self._job.ledger.total:
            self._job = self._again()
            self._answers = None
        return self

    def to_parquet(self, path: str | Path) -> None:
        """Write the rows with their answers as Parquet. Raises InvalidRequest if a column has the name of one of an answer."""
        self._write(Path(path), ".parquet")

    def to_csv(self, path: str | Path) -> None:
        """Write the rows with their answers as CSV. Raises InvalidRequest if a column has the name of one of an answer."""
        self._write(Path(path), ".csv")

    def to_jsonl(self, path: str | Path) -> None:
        """Write the rows with their answers, a JSON object a line. Raises InvalidRequest as the others do."""
        self._write(Path(path), ".jsonl")

    def to_pandas(self) -> Any:
        """Return the answers as a data frame of pandas, with the index of the input if that was one."""
        import pandas

        index = self._data.index if type(self._data).__module__.startswith("pandas") else None
        return pandas.DataFrame(self._all(), index=index)

    def to_polars(self) -> Any:
        """Return the answers as a data frame of polars."""
        import polars

        return polars.DataFrame(self._all(), infer_schema_length=None)

    def to_arrow(self) -> Any:
        """Return the answers as a `pyarrow.Table`."""
        return pyarrow("to_arrow").Table.from_pylist(self._all())

    def _all(self) -> list[Row]:
        if self._answers is None:
            self._answers = _finish(self._collected())
        return self._answers

    async def _collected(self) -> list[Row]:
        groups = answered_groups(self._table, self.job_id, *self._files())
        found = [self._validated(answer) async for _, answers in groups for answer in answers]
        return with_vectors(found) if self._embeds else found

    def _validated(self, answer: Row) -> Row:
        """Turn an answer into a failed row that fits the schema but not the model's own validators."""
        if self._model is None or answer["answer"] is None:
            return answer
        try:
            self._model.model_validate_json(answer["answer"])
        except ValidationError as exc:
            problem = exc.errors()[0]
            place = ".".join(map(str, problem["loc"]))
            return {**answer, "answer": None, "error": f"does not validate: {place}: {problem['msg']}"}
        return answer

    def _write(self, path: Path, suffix: str) -> None:
        check_columns(self._table, VECTOR_COLUMNS if self._embeds else ANSWER_COLUMNS)
        format_ = path.with_suffix(suffix)
        output, errors = self._files()
        _finish(write_whole(path, table_chunks(self._table, format_, self.job_id, output, errors, self._embeds)))

    def _files(self) -> list[AsyncIterator[bytes] | None]:
        objects = ObjectStore.open(self._store)
        ids = (self._job.output_file_id, self._job.error_file_id)
        return [objects.stream(content_path(file_id)) if file_id else None for file_id in ids]


def read_lines_of(job: Job, store: str) -> list[tuple[int, bytes]]:
    """Return all results of a job that has ended, each with its line's number; failed ones come last."""

    async def collected() -> list[tuple[int, bytes]]:
        objects = ObjectStore.open(store)
        found = []
        for file_id in filter(None, (job.output_file_id, job.error_file_id)):
            async for lines in lines_of(objects.stream(content_path(file_id))):
                found += [(line_number(job.id, line), line) for line in lines]
        return found

    return _finish(collected())


def _like(data: Any, values: list[Any]) -> Any:
    """Return values as a column of the kind that `data` has."""
    module = type(data).__module__.partition(".")[0]
    if module == "pandas":
        import pandas

        return pandas.Series(values, index=data.index, dtype=object, name="answer")
    if module == "polars":
        import polars

        return polars.Series("answer", values, dtype=polars.String)
    if module == "pyarrow":
        arrow = pyarrow("text")
        return arrow.chunked_array([arrow.array(values, arrow.string())])
    return values


def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where a loop runs already, as in a notebook."""
    run: Callable[[Coroutine[Any, Any, T]], T] = asyncio.run
    with ThreadPoolExecutor(1, thread_name_prefix="roadbalancer") as pool:
        return pool.submit(run, work).result()

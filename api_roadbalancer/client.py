"""The client of a team's server: the bulk calls over HTTP."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import orjson

from api_roadbalancer.tables import RowRequests, table_of
from api_roadbalancer.tables.answers import answer_of
from api_roadbalancer.tables.table import Row
from balancer.errors import BalancerError
from jobs.errors import InvalidRequest
from jobs.results.formats import number_in

__all__ = ["AsyncClient", "RemoteJob", "ServerError"]

FINAL = ("completed", "failed", "cancelled", "expired")
LOOK_EVERY = 1.0
"""Seconds between looks at a job that is followed."""
TIMEOUT = 60.0
SHOWN_ERRORS = 5


class ServerError(BalancerError):
    """The server has refused a call: `status` is that of HTTP, `code` and `param` are those of its error."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        self.status, self.code, self.param = status, code, param
        super().__init__(f"HTTP {status}: {message}")


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """A job in the state that the server last returned. `raw` is the whole JSON object."""

    id: str
    status: str
    raw: Mapping[str, Any]

    @property
    def is_final(self) -> bool:
        """Whether nothing is going to change any more."""
        return self.status in FINAL


class AsyncClient:
    """Submits rows to a server and reads their answers. Use as an async context manager. All methods raise ServerError, and
    httpx.HTTPError if the server can't be reached."""

    def __init__(self, url: str, api_key: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`url` is the server's address, such as `http://host:4000`."""
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        base = url.rstrip("/").removesuffix("/v1")
        self._http = httpx.AsyncClient(base_url=base, headers=headers, timeout=TIMEOUT, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def submit(
        self,
        data: Any,
        *,
        prompt: str | None = None,
        system: str | None = None,
        messages_column: str | None = None,
        image_column: str | None = None,
        fields: Mapping[str, Any] | None = None,
        model: str | None = None,
        checks: Sequence[str | Mapping[str, Any]] = (),
        recheck: Mapping[str, Any] | None = None,
        dedupe: bool | None = None,
        cache: str = "",
        max_cost: float | None = None,
        window: str = "24h",
    ) -> RemoteJob:
        """Open a job on the rows of `data`, which is what `roadbalancer.run` takes, and return it. Raises InvalidRequest for rows
        that can't be used."""
        table = table_of(data)
        if prompt is None and messages_column is None and len(table.columns) == 1:
            prompt = f"{{{table.columns[0]}}}"
        asked = {**(fields or {}), **({"model": model} if model is not None else {})}
        requests = RowRequests(table, prompt, system, asked, messages_column, image_column)
        uploaded = await self._upload(f"{Path(table.name).name}.jsonl", requests.chunks())
        options = {
            "input_file_id": uploaded["id"],
            "completion_window": window,
            "max_cost": max_cost,
            "checks": list(checks),
            "dedupe": dedupe,
            "cache": cache or None,
            "recheck": dict(recheck) if recheck is not None else None,
        }
        body = {name: value for name, value in options.items() if value not in (None, [])}
        job = _job_of(await self._call("POST", "/api/v1/jobs", json=body))
        if job.status == "failed":
            raise InvalidRequest("; ".join(str(each["message"]) for each in job.raw["errors"][:SHOWN_ERRORS]))
        return job

    async def job(self, job: RemoteJob | str) -> RemoteJob:
        """Return a job as it is now."""
        return _job_of(await self._call("GET", _path(job)))

    async def cancel(self, job: RemoteJob | str) -> RemoteJob:
        """Stop a job; what is finished is kept."""
        return _job_of(await self._call("DELETE", _path(job)))

    async def retry(self, job: RemoteJob | str, errors: Sequence[str] = (), lines: str = "") -> RemoteJob:
        """Send lines of an ended job again: those that failed, with `errors` only those with these codes, or `lines`."""
        body = {"errors": list(errors), "lines": lines}
        return _job_of(await self._call("POST", f"{_path(job)}/retry", json=body))

    async def results(self, job: RemoteJob | str, follow: bool = False) -> AsyncIterator[Row]:
        """Yield the answers that are there, in the order of the rows: `row` (from 0), `answer`, `error`, `finish_reason`,
        `prompt_tokens`, `completion_tokens`, `cost`, `endpoint`, `model`, `attempts`. With `follow`, until the job has ended."""
        start = 0
        while True:
            ended = (await self.job(job)).is_final
            async with self._http.stream("GET", f"{_path(job)}/results", params={"start": start}) as response:
                await _check(response)
                after = int(response.headers["x-roadbalancer-next"])
                async for line in response.aiter_lines():
                    raw = line.encode()
                    number = number_in(raw)
                    if ended or not follow or number < after:
                        yield {"row": number, **answer_of(raw)}
            if ended or not follow:
                return
            start = after
            await asyncio.sleep(LOOK_EVERY)

    async def _upload(self, name: str, chunks: AsyncIterator[bytes]) -> Mapping[str, Any]:
        boundary = f"rows-{secrets.token_hex(16)}"
        head = (
            f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{quote(name)}"\r\n'
            "content-type: application/jsonl\r\n\r\n"
        )

        async def body() -> AsyncIterator[bytes]:
            yield head.encode()
            async for chunk in chunks:
                yield chunk
            yield f"\r\n--{boundary}--\r\n".encode()

        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        return await self._call("POST", "/v1/files", content=body(), headers=headers)

    async def _call(self, method: str, path: str, **options: Any) -> Mapping[str, Any]:
        async with self._http.stream(method, path, **options) as response:
            await _check(response)
            found: Mapping[str, Any] = orjson.loads(await response.aread())
            return found


def _path(job: RemoteJob | str) -> str:
    return f"/api/v1/jobs/{quote(job if isinstance(job, str) else job.id, safe='')}"


def _job_of(raw: Mapping[str, Any]) -> RemoteJob:
    return RemoteJob(raw["id"], raw["status"], raw)


async def _check(response: httpx.Response) -> None:
    if response.status_code < 400:
        return
    content = await response.aread()
    try:
        error = orjson.loads(content)["error"]
        raise ServerError(response.status_code, str(error["message"]), error.get("code"), error.get("param"))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ServerError(response.status_code, content.decode("utf-8", "replace")[:300]) from None

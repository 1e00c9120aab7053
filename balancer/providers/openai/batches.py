"""OpenAI's Batch API (platform.openai.com/docs/api-reference/batch), and the services that copy it: Azure OpenAI
(learn.microsoft.com/azure/ai-services/openai/how-to/batch) and Mistral (docs.mistral.ai/capabilities/batch).

Requests are uploaded as a file of JSON lines, a batch is created from the file, and its results are two files: those with an
answer and those without.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from balancer.providers.batches import (
    BatchApi,
    BatchHttp,
    BatchRequest,
    BatchResult,
    BatchState,
    Submission,
    named_fields,
    raise_not_found,
    read_json_lines,
)

__all__ = ["AzureBatches", "MistralBatches", "OpenAIBatches"]

TOKEN_FIELD = "roadbalancer"
"""The entry of a batch's metadata by which it is found again."""
CLOCKS_DIFFER = 300.0
"""Seconds by which the provider's clock may be behind this machine's."""
PAGE = 100
MOST_PAGES = 20
"""Pages of the list of batches that are looked through, newest first."""
_ENDED = {"completed", "failed", "expired", "cancelled"}
_NO_ROOM = {"token_limit_exceeded", "too_many_tasks"}
"""The errors of a batch that was refused because too much is queued already."""
_NOT_PROCESSED = {"batch_expired", "batch_cancelled"}


class OpenAIBatches(BatchApi):
    """OpenAI's."""

    largest = 190 * 1024 * 1024

    def content(self, submission: Submission) -> bytes:
        return b"".join(self._line(request, submission.path) + b"\n" for request in submission.requests)

    def _line(self, request: BatchRequest, path: str) -> bytes:
        head = orjson.dumps({"custom_id": request.id, "method": "POST", "url": self._kind(path)})
        return b'%b,"body":%b}' % (head[:-1], request.call.body)

    def _kind(self, path: str) -> str:
        """Return the kind of request as the batch names it."""
        return "/v1" + path

    def _at(self, path: str) -> str:
        """Return where a part of the batch API is, below the endpoint's address."""
        return path

    async def upload(self, http: BatchHttp, token: str, content: bytes) -> str:
        boundary = f"----{token}"
        head = (
            f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{token}.jsonl"\r\n'
            "content-type: application/jsonl\r\n\r\n"
        )
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        answer = await http.call("POST", self._at("/files"), body, f"multipart/form-data; boundary={boundary}")
        return str(named_fields(answer)["id"])

    async def create(self, http: BatchHttp, submission: Submission, content: bytes, file: str) -> str:
        wanted = orjson.dumps(self._wanted(submission, file))
        answer = await http.call("POST", self._at("/batches"), wanted, send_by=submission.send_by)
        return str(named_fields(answer)["id"])

    def _wanted(self, submission: Submission, file: str) -> dict[str, Any]:
        return {
            "input_file_id": file,
            "endpoint": self._kind(submission.path),
            "completion_window": "24h",
            "metadata": {TOKEN_FIELD: submission.token},
        }

    async def find(self, http: BatchHttp, submission: Submission, known: Sequence[str]) -> str | None:
        after = ""
        for _ in range(MOST_PAGES):
            listing = named_fields(await http.call("GET", self._listing(after)))
            entries = listing.get("data") or []
            for entry in entries:
                if (entry.get("metadata") or {}).get(TOKEN_FIELD) == submission.token:
                    return str(entry["id"])
            last = entries[-1] if entries else None
            if last is None or not listing.get("has_more") or last.get("created_at", 0) < submission.since - CLOCKS_DIFFER:
                return None
            after = str(last["id"])
        raise_not_found(MOST_PAGES * PAGE)

    def _listing(self, after: str) -> str:
        return self._at(f"/batches?limit={PAGE}" + (f"&after={quote(after)}" if after else ""))

    async def state(self, http: BatchHttp, batch: str) -> BatchState:
        return self._read(named_fields(await http.call("GET", self._at(f"/batches/{quote(batch)}"))))

    def _read(self, entry: Mapping[str, Any]) -> BatchState:
        status, counts = str(entry.get("status")), entry.get("request_counts") or {}
        files = (entry.get("output_file_id"), entry.get("error_file_id"))
        errors = (entry.get("errors") or {}).get("data") or [] if status == "failed" else []
        first = errors[0] if errors else {}
        return BatchState(
            str(entry["id"]),
            status in _ENDED,
            int(counts.get("total") or 0),
            int(counts.get("completed") or 0) + int(counts.get("failed") or 0),
            is_cancelling=status == "cancelling",
            ended_early=status in ("expired", "cancelled"),
            results=tuple(str(file) for file in files if file),
            problem=str(first.get("message") or "the batch failed") if status == "failed" else "",
            retry_later=first.get("code") in _NO_ROOM,
        )

    async def results(self, http: BatchHttp, state: BatchState) -> AsyncIterator[BatchResult]:
        for file in state.results:
            async for line in read_json_lines(http.download(self._at(f"/files/{quote(file)}/content"))):
                yield _result(line)

    async def cancel(self, http: BatchHttp, batch: str) -> None:
        await http.call("POST", self._at(f"/batches/{quote(batch)}/cancel"), b"{}")

    async def delete(self, http: BatchHttp, state: BatchState, file: str) -> None:
        for each in (file, *state.results):
            if each:
                await http.call("DELETE", self._at(f"/files/{quote(each)}"))


class AzureBatches(OpenAIBatches):
    """Azure OpenAI's: the same API at another place. `version` is the `api-version`, "" below `/openai/v1`."""

    def __init__(self, version: str) -> None:
        self._version = version

    def _kind(self, path: str) -> str:
        path = path.partition("?")[0]
        return "/" + path.split("/", 4)[4] if path.startswith("/openai/deployments/") else path

    def _at(self, path: str) -> str:
        if not self._version:
            return path
        return f"/openai{path}{'&' if '?' in path else '?'}api-version={self._version}"


class MistralBatches(OpenAIBatches):
    """Mistral's: jobs in place of batches, with the model named by the job."""

    _STATES = frozenset({"SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED"})

    def _wanted(self, submission: Submission, file: str) -> dict[str, Any]:
        return {
            "input_files": [file],
            "endpoint": self._kind(submission.path),
            "model": submission.model,
            "timeout_hours": 24,
            "metadata": {TOKEN_FIELD: submission.token},
        }

    def _at(self, path: str) -> str:
        return path.replace("/batches", "/batch/jobs", 1)

    async def find(self, http: BatchHttp, submission: Submission, known: Sequence[str]) -> str | None:
        for page in range(MOST_PAGES):
            listing = named_fields(await http.call("GET", f"/batch/jobs?page={page}&page_size={PAGE}"))
            entries = listing.get("data") or []
            for entry in entries:
                if (entry.get("metadata") or {}).get(TOKEN_FIELD) == submission.token:
                    return str(entry["id"])
            if len(entries) < PAGE:
                return None
        raise_not_found(MOST_PAGES * PAGE)

    def _read(self, entry: Mapping[str, Any]) -> BatchState:
        status = str(entry.get("status"))
        files = (entry.get("output_file"), entry.get("error_file"))
        errors = entry.get("errors") or []
        refused = status == "FAILED" and not any(files)
        return BatchState(
            str(entry["id"]),
            status in self._STATES,
            int(entry.get("total_requests") or 0),
            int(entry.get("completed_requests") or 0),
            is_cancelling=status == "CANCELLATION_REQUESTED",
            ended_early=status != "SUCCESS",
            results=tuple(str(file) for file in files if file),
            problem=str(errors[0].get("message") if errors else "the job failed") if refused else "",
        )


def _result(line: Mapping[str, Any]) -> BatchResult:
    response, error = line.get("response"), line.get("error") or {}
    if isinstance(response, dict):
        return BatchResult(str(line["custom_id"]), int(response["status_code"]), orjson.dumps(response.get("body")))
    if error.get("code") in _NOT_PROCESSED:
        return BatchResult(str(line["custom_id"]), None)
    return BatchResult(str(line["custom_id"]), 500, orjson.dumps({"error": error}))

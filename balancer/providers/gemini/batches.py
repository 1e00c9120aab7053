"""Gemini's batches (ai.google.dev/api/batch-api): generateContent requests that stand in the request which creates a batch.

A batch is an operation: its `metadata` says how far it is, its `response` has the results, in the order of the requests. Batches
of files are not used: what is in one request may have 20 MB.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from balancer.providers.batches import (
    BY_PLACE,
    BatchApi,
    BatchHttp,
    BatchResult,
    BatchState,
    Submission,
    named_fields,
    raise_not_found,
    read_json_lines,
)

__all__ = ["GeminiBatches"]

PAGE = 100
MOST_PAGES = 20
_ENDED = {"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"}
_STATUS_OF = {3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 14: 503, 16: 401}
"""HTTP statuses of the codes in google/rpc/code.proto; others have 500."""


class GeminiBatches(BatchApi):
    """Gemini's."""

    has_files = False
    largest = 18 * 1024 * 1024

    def content(self, submission: Submission) -> bytes:
        entries = (
            b'{"request":%b,"metadata":{"key":%b}}' % (request.call.body, orjson.dumps(request.id))
            for request in submission.requests
        )
        name = orjson.dumps(submission.token)
        requests = b",".join(entries)
        return b'{"batch":{"displayName":%b,"inputConfig":{"requests":{"requests":[%b]}}}}' % (name, requests)

    async def upload(self, http: BatchHttp, token: str, content: bytes) -> str:
        return ""

    async def create(self, http: BatchHttp, submission: Submission, content: bytes, file: str) -> str:
        path = f"/models/{quote(submission.model, safe='')}:batchGenerateContent"
        return str(named_fields(await http.call("POST", path, content, send_by=submission.send_by))["name"])

    async def find(self, http: BatchHttp, submission: Submission, known: Sequence[str]) -> str | None:
        page = ""
        for _ in range(MOST_PAGES):
            listing = named_fields(await http.call("GET", f"/batches?pageSize={PAGE}{page}"))
            for operation in listing.get("operations") or []:
                if (operation.get("metadata") or {}).get("displayName") == submission.token:
                    return str(operation["name"])
            if not listing.get("nextPageToken"):
                return None
            page = f"&pageToken={quote(str(listing['nextPageToken']))}"
        raise_not_found(MOST_PAGES * PAGE)

    async def state(self, http: BatchHttp, batch: str) -> BatchState:
        return self._read(named_fields(await http.call("GET", f"/{quote(batch)}")))

    def _read(self, operation: Mapping[str, Any]) -> BatchState:
        about, error = operation.get("metadata") or {}, operation.get("error") or {}
        state, counts = str(about.get("state", "")).rpartition("STATE_")[2], about.get("batchStats") or {}
        total = int(counts.get("requestCount") or 0)
        has_results = bool(operation.get("response"))
        return BatchState(
            str(operation["name"]),
            state in _ENDED,
            total,
            total - int(counts.get("pendingRequestCount") or 0),
            results=(str(operation["name"]),) if has_results else (),
            ended_early=state in ("CANCELLED", "EXPIRED"),
            problem=str(error.get("message") or "the batch failed") if state == "FAILED" and not has_results else "",
            retry_later=error.get("code") == 8,
        )

    async def results(self, http: BatchHttp, state: BatchState) -> AsyncIterator[BatchResult]:
        for batch in state.results:
            # The whole operation is one object, larger than an answer to a single request may be.
            async for operation in read_json_lines(_on_one_line(http.download(f"/{quote(batch)}"))):
                entries = operation["response"]["inlinedResponses"]["inlinedResponses"]
                for index, entry in enumerate(entries):
                    key = str((entry.get("metadata") or {}).get("key") or f"{BY_PLACE}{index}")
                    if "response" in entry:
                        yield BatchResult(key, 200, orjson.dumps(entry["response"]))
                    else:
                        error = entry.get("error") or {}
                        yield BatchResult(key, _STATUS_OF.get(error.get("code") or 0, 500), orjson.dumps({"error": error}))

    async def cancel(self, http: BatchHttp, batch: str) -> None:
        await http.call("POST", f"/{quote(batch)}:cancel")

    async def delete(self, http: BatchHttp, state: BatchState, file: str) -> None:
        await http.call("DELETE", f"/{quote(state.id)}")


async def _on_one_line(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield piece.replace(b"\n", b" ")

"""Anthropic's Message Batches (platform.claude.com/docs/en/api/creating-message-batches).

All requests stand in the one that creates a batch. A batch has no metadata: it is found again by the token with which the ids of
its requests begin, which can be read when it has ended, and before that by the number of its requests and when it was made.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from balancer.providers.batches import (
    BatchApi,
    BatchHttp,
    BatchResult,
    BatchState,
    Submission,
    named_fields,
    raise_not_found,
    read_json_lines,
)

__all__ = ["AnthropicBatches"]

CLOCKS_DIFFER = 60.0
"""Seconds by which the provider's clock may be behind this machine's."""
PAGE = 100
MOST_PAGES = 20
STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The statuses that errors have outside of batches (platform.claude.com/docs/en/api/errors); others have 500."""


class AnthropicBatches(BatchApi):
    """Anthropic's."""

    has_files = False
    largest = 200 * 1024 * 1024

    def content(self, submission: Submission) -> bytes:
        entries = (
            b'{"custom_id":%b,"params":%b}' % (orjson.dumps(request.id), request.call.body) for request in submission.requests
        )
        return b'{"requests":[%b]}' % b",".join(entries)

    async def upload(self, http: BatchHttp, token: str, content: bytes) -> str:
        return ""

    async def create(self, http: BatchHttp, submission: Submission, content: bytes, file: str) -> str:
        return str(named_fields(await http.call("POST", "/messages/batches", content, send_by=submission.send_by))["id"])

    async def find(self, http: BatchHttp, submission: Submission, known: Sequence[str]) -> str | None:
        after, running = "", None
        for _ in range(MOST_PAGES):
            listing = named_fields(await http.call("GET", f"/messages/batches?limit={PAGE}{after}"))
            entries = listing.get("data") or []
            for entry in entries:
                if _seconds(entry["created_at"]) < submission.since - CLOCKS_DIFFER:
                    return running
                state = self._read(entry)
                if state.total != len(submission.requests):
                    continue
                if state.has_ended and await self._first_token(http, state) == submission.token:
                    return state.id
                if not state.has_ended and state.id not in known:
                    running = running or state.id
            if not entries or not listing.get("has_more"):
                return running
            after = f"&after_id={quote(str(listing['last_id']))}"
        if running is None:
            raise_not_found(MOST_PAGES * PAGE)
        return running

    async def _first_token(self, http: BatchHttp, state: BatchState) -> str:
        async for found in self._lines(http, state):
            return str(found["custom_id"]).partition("-")[0]
        return ""

    async def state(self, http: BatchHttp, batch: str) -> BatchState:
        return self._read(named_fields(await http.call("GET", f"/messages/batches/{quote(batch)}")))

    def _read(self, entry: Mapping[str, Any]) -> BatchState:
        counts: Mapping[str, int] = entry["request_counts"]
        total = sum(counts.values())
        return BatchState(
            str(entry["id"]),
            entry["processing_status"] == "ended",
            total,
            total - counts.get("processing", 0),
            is_cancelling=entry["processing_status"] == "canceling",
            ended_early=bool(counts.get("canceled") or counts.get("expired")),
        )

    async def results(self, http: BatchHttp, state: BatchState) -> AsyncIterator[BatchResult]:
        async for line in self._lines(http, state):
            result = line["result"]
            match result["type"]:
                case "succeeded":
                    yield BatchResult(line["custom_id"], 200, orjson.dumps(result["message"]))
                case "errored":
                    error = result["error"].get("error") or result["error"]
                    yield BatchResult(line["custom_id"], STATUS_OF.get(error.get("type"), 500), orjson.dumps(result["error"]))
                case _:  # canceled, expired
                    yield BatchResult(line["custom_id"], None)

    def _lines(self, http: BatchHttp, state: BatchState) -> AsyncIterator[dict[str, Any]]:
        # `results_url` names the same place; what an answer names is not followed with a key.
        return read_json_lines(http.download(f"/messages/batches/{quote(state.id)}/results"))

    async def cancel(self, http: BatchHttp, batch: str) -> None:
        await http.call("POST", f"/messages/batches/{quote(batch)}/cancel")

    async def delete(self, http: BatchHttp, state: BatchState, file: str) -> None:
        await http.call("DELETE", f"/messages/batches/{quote(state.id)}")


def _seconds(moment: str) -> float:
    """Read a time of RFC 3339 as seconds since the epoch."""
    return datetime.fromisoformat(moment).timestamp()

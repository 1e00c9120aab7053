"""The batch APIs of the fake providers: OpenAI's, Azure's, Mistral's, Anthropic's and Gemini's."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import orjson

from tests.fake_providers.base import KEY, Refused, Reply

if TYPE_CHECKING:
    from tests.fake_providers.batch_server import BatchServer, FakeBatch

__all__ = ["DIALECTS", "BatchDialect"]

PAGE = 2
"""Entries of a page of a list, so that clients have to turn pages."""
NOT_FOUND = Reply(404, b'{"error":{"message":"not found","type":"invalid_request_error"}}')


class BatchDialect(ABC):
    """One batch API, over the batches that a server keeps."""

    key_header = "authorization"
    key = f"Bearer {KEY}"

    def __init__(self, server: "BatchServer") -> None:
        self.server = server

    def check_key(self, headers: Mapping[str, str]) -> None:
        if headers.get(self.key_header) != self.key:
            raise Refused("no key")

    @abstractmethod
    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        """Answer a POST; None if it is no request to the batch API. Raises Refused."""

    @abstractmethod
    def get(self, path: str, headers: Mapping[str, str]) -> Reply | None:
        """Answer a GET; None if it is no request to the batch API."""

    def delete(self, path: str, headers: Mapping[str, str]) -> Reply:
        return Reply(200, b'{"deleted":true}')


class OpenAIDialect(BatchDialect):
    """Files and batches."""

    prefix = "/v1"
    batches = "/batches"
    list_name = "data"

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        place = self._place(path)
        if place == "/files":
            self.check_key(headers)
            return self._upload(headers, body)
        if place == self.batches:
            self.check_key(headers)
            return _json(self.entry(self._create(orjson.loads(body), headers)))
        if found := re.fullmatch(rf"{self.batches}/([^/]+)/cancel", place):
            batch = self.server.batches[found[1]]
            self.server.cancel(batch)
            return _json(self.entry(batch))
        return None

    def _place(self, path: str) -> str:
        path = urlsplit(path).path
        return path.removeprefix(self.prefix) if path.startswith(self.prefix + "/") else ""

    def _upload(self, headers: Mapping[str, str], body: bytes) -> Reply:
        boundary = headers["content-type"].partition("boundary=")[2].encode()
        parts = body.split(b"--" + boundary)[1:-1]
        fields = {}
        for part in parts:
            head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
            name = re.search(rb'name="([^"]+)"', head)
            assert name
            fields[name[1].decode()] = (head, content)
        if fields["purpose"][1] != b"batch" or b'.jsonl"' not in fields["file"][0]:
            raise Refused("a file for batches has the purpose batch and a name that ends in .jsonl")
        file = self.server.new_id("file-")
        self.server.files[file] = fields["file"][1]
        return _json({"id": file, "object": "file", "purpose": "batch", "bytes": len(body), "status": "processed"})

    def _create(self, wanted: dict[str, Any], headers: Mapping[str, str]) -> "FakeBatch":
        _only(wanted, {"input_file_id", "endpoint", "completion_window", "metadata"})
        if wanted["completion_window"] != "24h":
            raise Refused("completion_window must be 24h")
        requests, models = [], set()
        for line in self.server.files[wanted["input_file_id"]].splitlines():
            entry = orjson.loads(line)
            _only(entry, {"custom_id", "method", "url", "body"})
            if (entry["method"], entry["url"]) != ("POST", wanted["endpoint"]):
                raise Refused("every line has the batch's endpoint")
            models.add(entry["body"]["model"])
            if entry["body"].get("stream"):
                raise Refused("no streams")
            requests.append(
                (entry["custom_id"], self.path_of(entry["url"], entry["body"]), self.own_headers(), orjson.dumps(entry["body"]))
            )
        if len(models) != 1:
            raise Refused("one model a batch")
        _check_ids([each[0] for each in requests])
        return self.server.create(
            self.server.new_id("batch_"), requests, metadata=wanted.get("metadata"), file=wanted["input_file_id"]
        )

    def path_of(self, url: str, body: Mapping[str, Any]) -> str:
        """Return where a request of a batch would go alone."""
        return url

    def own_headers(self) -> dict[str, str]:
        return {self.key_header: self.key}

    def entry(self, batch: "FakeBatch") -> dict[str, Any]:
        status = "in_progress"
        if batch.refused:
            status = "failed"
        elif batch.ended:
            status = "expired" if batch.expired else "cancelled" if batch.cancelled_at else "completed"
        elif batch.cancelled_at:
            status = "cancelling"
        files = self._result_files(batch) if batch.ended and not batch.refused else (None, None)
        errors = {"object": "list", "data": [{"code": batch.refused[0], "message": batch.refused[1]}]} if batch.refused else None
        return {
            "id": batch.id,
            "object": "batch",
            "status": status,
            "created_at": int(batch.created_at),
            "errors": errors,
            "output_file_id": files[0],
            "error_file_id": files[1],
            "request_counts": {"total": len(batch.requests), "completed": batch.done(), "failed": 0},
            "metadata": batch.about["metadata"],
        }

    def _result_files(self, batch: "FakeBatch") -> tuple[str | None, str | None]:
        if "results" not in batch.about:
            good, bad = [], []
            why = "batch_expired" if batch.expired else "batch_cancelled"
            for custom_id, reply in reversed(self.server.results(batch).items()):
                line: dict[str, Any] = {"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": None, "error": None}
                if reply is None:
                    line["error"] = {"code": why, "message": "not processed"}
                else:
                    line["response"] = {"status_code": reply.status, "request_id": "r", "body": orjson.loads(reply.body)}
                (good if reply is not None and reply.status == 200 else bad).append(orjson.dumps(line))
            names = []
            for lines in (good, bad):
                names.append(self.server.new_id("file-") if lines else None)
                if names[-1]:
                    self.server.files[names[-1]] = b"\n".join(lines) + b"\n"
            batch.about["results"] = tuple(names)
        found: tuple[str | None, str | None] = batch.about["results"]
        return found

    def get(self, path: str, headers: Mapping[str, str]) -> Reply | None:
        place, query = self._place(path), parse_qs(urlsplit(path).query)
        if place == self.batches:
            return self.listing(query)
        if found := re.fullmatch(rf"{self.batches}/([^/]+)", place):
            batch = self.server.batches.get(found[1])
            return _json(self.entry(batch)) if batch else NOT_FOUND
        if found := re.fullmatch(r"/files/([^/]+)/content", place):
            return Reply(200, self.server.files[found[1]])
        return None

    def listing(self, query: Mapping[str, Sequence[str]]) -> Reply:
        entries, more = _page(self.server, query.get("after", [""])[0])
        return _json({"object": "list", "data": [self.entry(batch) for batch in entries], "has_more": more})


class AzureDialect(OpenAIDialect):
    """The same below `/openai`, with Azure's key."""

    prefix = "/openai"
    key_header, key = "api-key", KEY

    def path_of(self, url: str, body: Mapping[str, Any]) -> str:
        return f"/openai/deployments/{body['model']}{url}?api-version=2024-10-21"


class MistralDialect(OpenAIDialect):
    """Jobs."""

    batches = "/batch/jobs"

    def _create(self, wanted: dict[str, Any], headers: Mapping[str, str]) -> "FakeBatch":
        _only(wanted, {"input_files", "endpoint", "model", "metadata", "timeout_hours"})
        (file,) = wanted["input_files"]
        requests = []
        for line in self.server.files[file].splitlines():
            entry = orjson.loads(line)
            if entry["body"]["model"] != wanted["model"]:
                raise Refused("one model a job")
            requests.append((entry["custom_id"], wanted["endpoint"], self.own_headers(), orjson.dumps(entry["body"])))
        _check_ids([each[0] for each in requests])
        return self.server.create(self.server.new_id("job-"), requests, metadata=wanted["metadata"], file=file)

    def entry(self, batch: "FakeBatch") -> dict[str, Any]:
        openais = super().entry(batch)
        names = {"in_progress": "RUNNING", "failed": "FAILED", "expired": "TIMEOUT_EXCEEDED", "cancelled": "CANCELLED"}
        names |= {"completed": "SUCCESS", "cancelling": "CANCELLATION_REQUESTED"}
        return {
            "id": batch.id,
            "object": "batch",
            "status": names[openais["status"]],
            "output_file": openais["output_file_id"],
            "error_file": openais["error_file_id"],
            "errors": [{"message": batch.refused[1], "count": 1}] if batch.refused else [],
            "total_requests": len(batch.requests),
            "completed_requests": batch.done(),
            "metadata": batch.about["metadata"],
        }

    def listing(self, query: Mapping[str, Sequence[str]]) -> Reply:
        size = int(query["page_size"][0])
        entries = sorted(self.server.batches.values(), key=lambda batch: -batch.created_at)
        start = int(query["page"][0]) * size
        return _json({"object": "list", "data": [self.entry(batch) for batch in entries[start : start + size]]})


class AnthropicDialect(BatchDialect):
    """Message batches."""

    key_header, key = "x-api-key", KEY

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        if path == "/v1/messages/batches":
            self.check_key(headers)
            wanted = orjson.loads(body)
            _only(wanted, {"requests"})
            own = {name: headers[name] for name in ("x-api-key", "anthropic-version", "content-type")}
            requests = []
            for entry in wanted["requests"]:
                _only(entry, {"custom_id", "params"})
                if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", entry["custom_id"]):
                    raise Refused("custom_id: 1 to 64 letters, digits, - and _")
                requests.append((entry["custom_id"], "/v1/messages", own, orjson.dumps(entry["params"])))
            _check_ids([each[0] for each in requests])
            return _json(self.entry(self.server.create(self.server.new_id("msgbatch_"), requests)))
        if found := re.fullmatch(r"/v1/messages/batches/([^/]+)/cancel", path):
            self.server.cancel(self.server.batches[found[1]])
            return _json(self.entry(self.server.batches[found[1]]))
        return None

    def entry(self, batch: "FakeBatch") -> dict[str, Any]:
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        if batch.ended:
            for reply in self.server.results(batch).values():
                kind = "expired" if batch.expired else "canceled"
                counts[kind if reply is None else "succeeded" if reply.status == 200 else "errored"] += 1
        else:
            counts["processing"] = len(batch.requests)
        status = "ended" if batch.ended else "canceling" if batch.cancelled_at else "in_progress"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": counts,
            "created_at": datetime.fromtimestamp(batch.created_at, UTC).isoformat().replace("+00:00", "Z"),
            "results_url": f"{self.server.address}/v1/messages/batches/{batch.id}/results" if batch.ended else None,
        }

    def get(self, path: str, headers: Mapping[str, str]) -> Reply | None:
        parts = urlsplit(path)
        if parts.path == "/v1/messages/batches":
            entries, more = _page(self.server, parse_qs(parts.query).get("after_id", [""])[0])
            last = entries[-1].id if entries else None
            return _json({"data": [self.entry(batch) for batch in entries], "has_more": more, "last_id": last})
        if found := re.fullmatch(r"/v1/messages/batches/([^/]+)/results", parts.path):
            batch = self.server.batches[found[1]]
            return Reply(200, b"".join(self._line(batch, *each) for each in reversed(self.server.results(batch).items())))
        if found := re.fullmatch(r"/v1/messages/batches/([^/]+)", parts.path):
            wanted = self.server.batches.get(found[1])
            return _json(self.entry(wanted)) if wanted else NOT_FOUND
        return None

    def _line(self, batch: "FakeBatch", custom_id: str, reply: Reply | None) -> bytes:
        if reply is None:
            result: dict[str, Any] = {"type": "expired" if batch.expired else "canceled"}
        elif reply.status == 200:
            result = {"type": "succeeded", "message": orjson.loads(reply.body)}
        else:
            result = {"type": "errored", "error": orjson.loads(reply.body)}
        return orjson.dumps({"custom_id": custom_id, "result": result}) + b"\n"


class GeminiDialect(BatchDialect):
    """Batches of requests that stand in the one that creates them."""

    key_header, key = "x-goog-api-key", KEY

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        if found := re.fullmatch(r"/v1beta/models/([^/]+):batchGenerateContent", path):
            self.check_key(headers)
            wanted = orjson.loads(body)["batch"]
            _only(wanted, {"displayName", "inputConfig"})
            if len(body) > 20 * 1024 * 1024:
                raise Refused("Request payload size exceeds the limit")
            requests = []
            for entry in wanted["inputConfig"]["requests"]["requests"]:
                _only(entry, {"request", "metadata"})
                place = f"/v1beta/models/{found[1]}:generateContent"
                requests.append((entry["metadata"]["key"], place, self.own_headers(), orjson.dumps(entry["request"])))
            batch = self.server.create(self.server.new_id("batches/"), requests, name=wanted["displayName"])
            return _json(self.entry(batch))
        if found := re.fullmatch(r"/v1beta/(batches/[^/]+):cancel", path):
            self.server.cancel(self.server.batches[found[1]])
            return _json({})
        return None

    def own_headers(self) -> dict[str, str]:
        return {self.key_header: self.key}

    def entry(self, batch: "FakeBatch") -> dict[str, Any]:
        state = "RUNNING"
        if batch.refused:
            state = "FAILED"
        elif batch.ended:
            state = "EXPIRED" if batch.expired else "CANCELLED" if batch.cancelled_at else "SUCCEEDED"
        total = len(batch.requests)
        counts = {"requestCount": str(total), "pendingRequestCount": str(0 if batch.ended else total - batch.done())}
        about = {"displayName": batch.about["name"], "state": f"BATCH_STATE_{state}", "batchStats": counts}
        operation: dict[str, Any] = {"name": batch.id, "metadata": about, "done": batch.ended}
        if batch.refused:
            code = 8 if batch.refused[0] == "token_limit_exceeded" else 3
            operation["error"] = {"code": code, "message": batch.refused[1]}
        elif batch.ended:
            results = self.server.results(batch).items()
            entries = [_gemini_result(custom_id, reply) for custom_id, reply in results if reply is not None]
            operation["response"] = {"inlinedResponses": {"inlinedResponses": entries}}
        return operation

    def get(self, path: str, headers: Mapping[str, str]) -> Reply | None:
        parts = urlsplit(path)
        if parts.path == "/v1beta/batches":
            entries, more = _page(self.server, parse_qs(parts.query).get("pageToken", [""])[0])
            listing: dict[str, Any] = {"operations": [self.entry(batch) for batch in entries]}
            return _json(listing | ({"nextPageToken": entries[-1].id} if more else {}))
        if found := re.fullmatch(r"/v1beta/(batches/[^/]+)", parts.path):
            batch = self.server.batches.get(found[1])
            return Reply(200, orjson.dumps(self.entry(batch), option=orjson.OPT_INDENT_2)) if batch else NOT_FOUND
        return None


def _gemini_result(custom_id: str, reply: Reply) -> dict[str, Any]:
    parsed = orjson.loads(reply.body)
    if reply.status == 200:
        return {"metadata": {"key": custom_id}, "response": parsed}
    codes = {400: 3, 429: 8, 503: 14}
    return {"metadata": {"key": custom_id}, "error": {"code": codes.get(reply.status, 13), "message": parsed["error"]["message"]}}


def _page(server: "BatchServer", after: str) -> tuple[list["FakeBatch"], bool]:
    """Return the page of batches after one, newest first, and whether there are more."""
    newest_first = list(reversed(server.batches.values()))
    start = next((i + 1 for i, batch in enumerate(newest_first) if batch.id == after), 0)
    return newest_first[start : start + PAGE], start + PAGE < len(newest_first)


def _only(fields: Mapping[str, Any], known: set[str]) -> None:
    if extra := set(fields) - known:
        raise Refused(f"unknown fields: {', '.join(sorted(extra))}")


def _check_ids(ids: Sequence[str]) -> None:
    if len(set(ids)) != len(ids) or not ids:
        raise Refused("custom ids are unique, and there is at least one")


def _json(value: Any) -> Reply:
    return Reply(200, orjson.dumps(value))


DIALECTS: Mapping[str, type[BatchDialect]] = {
    "openai": OpenAIDialect,
    "azure": AzureDialect,
    "mistral": MistralDialect,
    "anthropic": AnthropicDialect,
    "gemini": GeminiDialect,
}

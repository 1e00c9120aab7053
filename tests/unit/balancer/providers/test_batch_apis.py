"""What the providers' batch APIs do with lists and answers that leave it open whether a batch was created."""

import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest

from balancer.http import HttpAnswer
from balancer.providers.anthropic.batches import AnthropicBatches
from balancer.providers.batches import BatchApi, BatchCallFailed, Submission, failed_call
from balancer.providers.gemini.batches import GeminiBatches
from balancer.providers.openai.batches import AzureBatches, MistralBatches, OpenAIBatches

SUBMISSION = Submission("token", "m", "/chat/completions", ())


def openai_page(number: int) -> dict[str, Any]:
    entries = [{"id": f"{number}-{index}", "created_at": 10, "metadata": {}} for index in range(100)]
    return {"data": entries, "has_more": True}


def anthropic_page(number: int) -> dict[str, Any]:
    counts = {"processing": 7, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    moment = "2026-01-01T00:00:00Z"
    entry = {"id": str(number), "processing_status": "in_progress", "created_at": moment, "request_counts": counts}
    return {"data": [entry], "has_more": True, "last_id": str(number)}


def gemini_page(number: int) -> dict[str, Any]:
    return {"operations": [{"name": f"batches/{number}", "metadata": {"displayName": "x"}}], "nextPageToken": str(number)}


class EndlessList:
    """A provider whose list of batches goes on and on, without the one that is looked for."""

    def __init__(self, page: Callable[[int], dict[str, Any]]) -> None:
        self.pages = 0
        self._page = page

    async def call(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/json", send_by: float = math.inf
    ) -> HttpAnswer:
        self.pages += 1
        return HttpAnswer(200, {}, orjson.dumps(self._page(self.pages)))

    def download(self, path: str) -> AsyncIterator[bytes]:
        raise AssertionError(path)


@pytest.mark.parametrize(
    ("api", "page"),
    [
        (OpenAIBatches(), openai_page),
        (AzureBatches("2026-01-01"), openai_page),
        (MistralBatches(), openai_page),
        (AnthropicBatches(), anthropic_page),
        (GeminiBatches(), gemini_page),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BatchApi) else "",
)
async def test_a_batch_that_may_be_behind_the_listed_ones_is_not_said_to_be_missing(
    api: BatchApi, page: Callable[[int], dict[str, Any]]
) -> None:
    http = EndlessList(page)
    with pytest.raises(BatchCallFailed, match="unknown") as caught:
        await api.find(http, SUBMISSION, ())
    assert not caught.value.answered
    assert http.pages == 20


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (400, True),
        (404, True),
        (429, True),
        (408, False),  # it took too long to arrive, or to be answered
        (409, False),  # the first of two equal ones may be under way
        (499, False),  # a proxy's word for a client that went away
        (500, False),
        (529, False),
    ],
)
def test_only_a_refusal_says_that_nothing_was_created(status: int, refused: bool) -> None:
    assert failed_call("POST /batches", HttpAnswer(status, {}, b"{}")).answered is refused

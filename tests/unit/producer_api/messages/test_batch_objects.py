from typing import Any

import orjson
import pytest

from balancer.outcome import FailureKind
from producer_api.http.errors import ApiError
from producer_api.messages.batch_objects import BatchCreate, input_lines, result_line

PARAMS: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
CHAT = {
    "id": "c",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


def _result(**fields: Any) -> Any:
    from anthropic.types.messages import (
        MessageBatchIndividualResponse,  # four seconds of CPU, in each process that collects tests
    )

    line = {"id": "batch_req_1", "custom_id": "a", "response": None, "error": None, **fields}
    made = result_line(orjson.dumps(line))
    assert made.endswith(b"\n")
    return MessageBatchIndividualResponse.model_validate_json(made).result


def test_an_answer_has_succeeded() -> None:
    result = _result(response={"status_code": 200, "body": CHAT})
    assert (result.type, result.message.content[0].text, result.message.stop_reason) == ("succeeded", "Hello", "max_tokens")
    assert (result.message.usage.input_tokens, result.message.usage.output_tokens) == (3, 2)


@pytest.mark.parametrize(
    ("fields", "type_"),
    [
        ({"error": {"code": "batch_cancelled", "message": "x"}}, "canceled"),
        ({"error": {"code": "batch_expired", "message": "x"}}, "expired"),
    ],
)
def test_what_was_not_sent_says_why(fields: dict[str, Any], type_: str) -> None:
    assert _result(**fields).type == type_


@pytest.mark.parametrize(
    ("fields", "type_"),
    [
        ({"error": {"code": FailureKind.RATE_LIMIT, "message": "slow down"}}, "rate_limit_error"),
        ({"error": {"code": "worker_lost", "message": "3 workers were lost"}}, "api_error"),
        ({"response": {"status_code": 400, "body": {"error": {"message": "no"}}}}, "invalid_request_error"),
        ({"response": {"status_code": 429, "body": {}}}, "rate_limit_error"),
    ],
)
def test_a_failure_has_errored(fields: dict[str, Any], type_: str) -> None:
    result = _result(**fields)
    assert (result.type, result.error.error.type) == ("errored", type_)


def test_requests_become_lines_of_chats() -> None:
    [line] = input_lines(BatchCreate.model_validate({"requests": [{"custom_id": "a", "params": PARAMS}]}))
    assert orjson.loads(line) == {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": PARAMS}


@pytest.mark.parametrize(
    ("change", "named"),
    [({"max_tokens": "5"}, "requests[1].params.max_tokens"), ({"stream": True}, "requests[1].params.stream")],
)
def test_a_request_that_can_not_be_sent_is_named(change: dict[str, Any], named: str) -> None:
    requests = [{"custom_id": "a", "params": PARAMS}, {"custom_id": "b", "params": PARAMS | change}]
    with pytest.raises(ApiError) as caught:
        list(input_lines(BatchCreate.model_validate({"requests": requests})))
    assert caught.value.problem.param == named

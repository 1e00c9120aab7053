"""Reads answers that come as streams though they are wanted whole."""

import orjson

from balancer.fleet.completion_builder import CompletionBuilder
from balancer.http import HttpAnswer
from balancer.outcome import Failure, FailureKind
from balancer.providers import Adapter, Answer, Call, StreamFault
from balancer.providers.openai.adapter import usage_of
from balancer.providers.sse import events_in

__all__ = ["answer_of"]


def answer_of(adapter: Adapter, call: Call, response: HttpAnswer) -> Answer:
    """Translate an answer, whether it is a stream or not; never raises."""
    if not call.stream or response.status != 200 or "event-stream" not in response.headers.get("content-type", ""):
        return adapter.answer(call, response.status, response.headers, response.body)
    builder, translation = CompletionBuilder(), adapter.translation(call)
    try:
        for data in events_in(response.body):
            for chunk in translation.take(data):
                builder.add(chunk)
        for chunk in translation.close():
            builder.add(chunk)
    except StreamFault as exc:
        return Answer(b"", translation.used_so_far(), exc.failure)
    except RecursionError:
        return _invalid("a stream whose chunks are nested too deep", response)
    if not (translation.ended or builder.is_finished):
        failure = Failure(FailureKind.CONNECTION, "the stream broke off", response.status)
        return Answer(b"", translation.used_so_far(), failure)
    try:
        completion = builder.completion()
        body = orjson.dumps(completion)
    except (RecursionError, orjson.JSONEncodeError):
        return _invalid("a stream whose chunks are nested too deep", response)
    if not completion["choices"]:
        return _invalid("a stream without a chunk", response)
    return Answer(body, usage_of(completion.get("usage")), parsed=completion)


def _invalid(problem: str, response: HttpAnswer) -> Answer:
    return Answer(b"", failure=Failure(FailureKind.INVALID_RESPONSE, problem, response.status))

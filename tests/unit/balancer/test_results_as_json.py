import json
import pickle

import orjson
import pytest

from balancer.outcome import Failure, FailureKind, Usage
from balancer.results import Attempt, ChatResult

LATE = Failure(FailureKind.TIMEOUT, "late")
RESULT = ChatResult(
    True,
    "hi",
    usage=Usage(1, 2),
    attempts=(Attempt("e", None, 0.1),),
    raw={"id": "c"},
    failure=Failure(FailureKind.TIMEOUT, "late"),
)


@pytest.mark.parametrize("dumps", [json.dumps, lambda result: json.dumps(result, indent=1), orjson.dumps])
def test_a_result_is_fit_for_json(dumps: object) -> None:
    read = orjson.loads(dumps(RESULT))  # type: ignore[operator]
    assert (read["content"], read["usage"]["completion"], read["attempts"][0]["endpoint"]) == ("hi", 2, "e")
    assert (read["raw"], read["failure"]["kind"]) == ({"id": "c"}, "request_timeout")


def test_its_fields_are_objects_and_it_cannot_be_changed() -> None:
    assert RESULT["usage"] == RESULT.get("usage") == RESULT.usage == Usage(1, 2)
    assert RESULT.get("colour", 5) == 5
    with pytest.raises(KeyError):
        RESULT["colour"]
    with pytest.raises(TypeError):
        RESULT["content"] = "other"
    assert pickle.loads(pickle.dumps(RESULT)) == RESULT

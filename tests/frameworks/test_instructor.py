"""Instructor's structured answers, in its own modes."""

import instructor
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from served import Server

HELLO = [{"role": "user", "content": "A city, please."}]


class City(BaseModel):
    """A city."""

    name: str
    rivers: int


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA], ids=["tools", "schema"])
def test_an_answer_is_an_object(server: Server, model: str, mode: instructor.Mode) -> None:
    client = instructor.from_openai(OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0), mode=mode)
    city = client.chat.completions.create(model=model, messages=HELLO, response_model=City, max_retries=0)
    # Instructor returns a class of its own that looks like the given one.
    assert city.model_dump() == {"name": "Busan", "rivers": 3}


async def test_an_asynchronous_client_answers_too(server: Server, model: str) -> None:
    client = instructor.from_openai(AsyncOpenAI(base_url=server.base_url, api_key=server.key, max_retries=0))
    city = await client.chat.completions.create(model=model, messages=HELLO, response_model=City, max_retries=0)
    assert city.rivers == 3

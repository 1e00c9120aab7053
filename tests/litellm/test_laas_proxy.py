"""LiteLLM's proxy with the example's configuration, from the outside: OpenAI's SDK -> proxy -> handler -> LaaS."""

import json
import os
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.litellm.conftest import KEY, PROJECT
from tests.media import pdf, png

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "examples" / "litellm" / "config.yaml"
MASTER_KEY = "sk-of-a-test-4711"
START_SECONDS = 90.0
POLL_SECONDS = 0.2
HI = [{"role": "user", "content": "Hi"}]
HEARD_HI = '{"hash": "b3f1c0"} user: Hi'


@pytest.fixture(scope="session")
def proxy(laas_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The proxy's address, once it answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {
        **os.environ,
        **laas_environment,
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "LAAS_OTHER_API_KEY": "a-wrong-key-987654",
        "LAAS_OTHER_PROJECT_CODE": PROJECT,
        "LAAS_OTHER_PRESET_HASH": "0ther",
    }
    folder = tmp_path_factory.mktemp("proxy")
    command = [str(Path(sys.executable).parent / "litellm"), "--config", str(CONFIG), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health/liveliness", process, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(POLL_SECONDS)
    pytest.fail(f"the proxy did not start:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture
def client(proxy: str) -> Iterator[openai.OpenAI]:
    """OpenAI's client, as a user of the proxy has it."""
    with openai.OpenAI(base_url=proxy, api_key=MASTER_KEY, max_retries=0, timeout=60) as client:
        yield client


def ask(client: openai.OpenAI, *parts: dict[str, Any], **fields: Any) -> Any:
    messages: Any = [{"role": "user", "content": list(parts)}] if parts else HI
    return client.chat.completions.create(**{"model": "laas", "messages": messages, **fields})


IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64encode(png(2, 2)).decode()}"}}
PDF_URL = f"data:application/pdf;base64,{b64encode(pdf()).decode()}"


def test_a_plain_question_is_answered(client: openai.OpenAI) -> None:
    answer = ask(client, max_tokens=9, user="u", extra_body={"params": {"name": "Kim"}, "hash": "of-this-request"})
    sent = {"hash": "of-this-request", "max_tokens": 9, "params": {"name": "Kim"}}
    assert answer.choices[0].message.content == f"{json.dumps(sent)} user: Hi"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 5)


def test_a_stream_has_text_an_end_and_tokens(client: openai.OpenAI) -> None:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == HEARD_HI
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [16]


def test_an_image_arrives(client: openai.OpenAI) -> None:
    answer = ask(client, {"type": "text", "text": "What?"}, IMAGE)
    assert answer.choices[0].message.content.endswith(f"user: What? + image/png of {len(b64encode(png(2, 2)))} characters")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF_URL}},
        {"type": "document", "document_url": {"url": PDF_URL}},
    ],
    ids=["as OpenAI's file", "as LaaS' document"],
)
def test_a_pdf_arrives(part: dict[str, Any], client: openai.OpenAI) -> None:
    answer = ask(client, part, {"type": "text", "text": "Sum up"})
    assert answer.choices[0].message.content.endswith(f"application/pdf of {len(b64encode(pdf()))} characters + Sum up")


@pytest.mark.parametrize("stream", [False, True])
def test_four_images_are_a_bad_request_that_names_the_fourth(stream: bool, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        list(ask(client, *[IMAGE] * 4, stream=stream))
    assert "messages[0].content[3].image_url" in str(caught.value)
    assert "iVBORw0" not in str(caught.value), "it shows the image"


def test_a_key_that_laas_refuses_is_an_authentication_error_that_does_not_show_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(client, model="laas-other")
    assert "a-wrong-key-987654" not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "status"), [("RATE_LIMIT", 429), ("OVERLOADED", 503), ("TIMEOUT", 504), ("BAD_REQUEST", 400), ("SERVER", 500)]
)
def test_a_failure_of_laas_keeps_its_status(kind: str, status: int, stream: bool, client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        list(ask(client, {"type": "text", "text": f"fail {kind}"}, stream=stream, extra_body={"num_retries": 0}))
    assert caught.value.status_code == status, caught.value
    assert f"fail {kind}" not in str(caught.value), "it shows the prompt"

"""The client of a server, and requests that are gathered into jobs."""

import asyncio
from pathlib import Path

import openai
import pandas as pd
import pytest

import roadbalancer as rb
from tests.acceptance.cluster import Cluster, ModelServer


async def test_rows_are_submitted_to_a_server_and_their_answers_followed(cluster: Cluster, tmp_path: Path) -> None:
    model = await cluster.start_model("m", {"models": ["good", "bad"]}, latency=0.05, models="good")
    cluster.write_config()
    await cluster.start_worker()
    _, url = await cluster.start_api()
    pd.DataFrame({"text": [f"text {n}" for n in range(60)], "n": range(60)}).to_parquet(tmp_path / "prompts.parquet")
    async with rb.AsyncClient(url, "any") as client:
        job = await client.submit(tmp_path / "prompts.parquet", prompt="Translate: {text}", model="good")
        rows = [row async for row in client.results(job, follow=True)]
        assert [row["row"] for row in rows] == list(range(60))
        assert all(f"Translate: text {n}" in row["answer"] for n, row in enumerate(rows))
        assert (await client.job(job)).status == "completed"
        failed = await client.submit(["one", "two"], model="bad")
        assert [row["answer"] async for row in client.results(failed, follow=True)] == [None, None]
        model.behave(models=["good", "bad"])
        again = await client.retry(failed)
        assert ["one" in row["answer"] async for row in client.results(again, follow=True)] == [True, False]
        with pytest.raises(rb.ServerError, match="there is no batch") as caught:
            await client.job("batch_unknown")
        assert caught.value.status == 404
        with pytest.raises(rb.InvalidRequest, match="no endpoint serves the model 'other'"):
            await client.submit(["one"], model="other")


async def test_texts_that_are_asked_together_are_one_job(model: ModelServer) -> None:
    groups = [[f"question {n}", f"another {n}"] for n in range(20)]
    answers = await asyncio.gather(*(rb.map(group, endpoints=[model.url], model="m") for group in groups))
    assert [[group[n] in texts[n] for n in range(2)] for group, texts in zip(groups, answers, strict=True)] == [[True] * 2] * 20
    assert len(list(Path("data/jobs").glob("*")) or [1]) == 1
    assert model.stats["requests"] == 40
    again = await rb.map(["question 1"], endpoints=[model.url], model="m")
    assert "question 1" in again[0]


async def test_chats_that_are_gathered_have_the_sdks_own_answers(model: ModelServer) -> None:
    async with rb.AsyncOpenAI(base_url=model.url) as client:
        calls = [
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"q {n}"}], temperature=openai.omit)
            for n in range(30)
        ]
        answers = await asyncio.gather(*calls)
    assert all(f"q {n}" in (answer.choices[0].message.content or "") for n, answer in enumerate(answers))
    assert isinstance(answers[0], openai.types.chat.ChatCompletion)
    assert model.stats["requests"] == 30


async def test_a_request_that_fails_does_not_fail_its_neighbours(model: ModelServer) -> None:
    model.behave(fail_custom=["poison"])
    client = rb.AsyncOpenAI(base_url=model.url)
    texts = ["fine", "poison", "fine too"]
    calls = [client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}]) for text in texts]
    good, bad, other = await asyncio.gather(*calls, return_exceptions=True)
    assert not isinstance(good, BaseException) and not isinstance(other, BaseException)
    assert isinstance(bad, rb.RequestFailed) and bad.status == 400 and "Refused on demand" in str(bad)
    with pytest.raises(rb.RequestFailed, match="is not streamed"):
        await client.chat.completions.create(model="m", messages=[], stream=True)

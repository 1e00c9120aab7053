"""One job over five endpoints that speak five wire formats: every line answered alike, every token and every cent accounted for;
and no key, prompt or answer anywhere where it has no business."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import orjson
import pytest
from genai_prices import Usage as LibraryUsage
from genai_prices import calc_price
from openai.types.chat import ChatCompletion

from balancer.outcome import Usage
from jobs.intake.files import Upload
from jobs.service import JobRequest
from tests.acceptance.cluster import CHAT, HTTP, Cluster, check_each_once, ended
from tests.fake_providers import FAKE_PROVIDERS, Ending, ProviderServer, ReceivedRequest, Reply, Script, Text, ToolCall
from tests.fake_providers.base import KEY
from tests.fake_providers.batch_dialects import DIALECTS
from tests.fake_providers.batch_server import BatchServer
from tests.waiting import until

LINES = 1000
LINES_IN_BATCHES = 300
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}},
}
FAILING = 7
"""One request in so many is refused for the moment, so that lines move between providers."""
MODELS = {
    "openai": "gpt-of-ours",
    "vllm": "llama",
    "anthropic": "claude-sonnet-5-5",
    "gemini": "gemini-3.5-flash-lite",
    "laas": "preset",
}
"""What each endpoint is asked for when users ask for `m`."""
OWN_PRICES = {"openai": (0.75, 4.5), "vllm": (0.0, 0.0), "laas": (1.25, 3.1)}
"""USD per million tokens, where the configuration says it; the others' stand in the price library."""
HALF_PRICE = ("flex", "batch")
LIBRARY = {"anthropic": "anthropic", "gemini": "google"}
SECRET_PROMPT, SECRET_ANSWER = "a secret question", "a secret answer"


class Account:
    """What the servers answered for each line, and what that costs, without the code that is tested."""

    def __init__(self) -> None:
        self.answered: dict[str, tuple[str, str, Usage]] = {}
        self.requests = 0

    def answering(self, provider: str, counts: tuple[str, ...], server: ProviderServer) -> Any:
        rng = random.Random(provider)

        def answer(received: ReceivedRequest) -> Script | Reply:
            self.requests += 1
            if rng.randrange(FAILING) == 0:
                return Reply(503, b"{}")
            text = next(part.text for part in received.turns[-1].parts if isinstance(part, Text))
            prompt = rng.randrange(20, 400_000)
            completion, cached = rng.randrange(1, 5_000), rng.randrange(0, prompt)
            written = rng.randrange(0, prompt - cached)
            usage = Usage(prompt, completion, cached, rng.randrange(0, completion), written)
            usage = Usage(**{name: getattr(usage, name) for name in counts})
            # OpenAI and Gemini have flex processing: the others are not asked for it.
            assert received.service_tier is None or provider in ("openai", "vllm", "gemini")
            in_batch = isinstance(server, BatchServer) and server.in_batch
            self.answered[text.rpartition(" ")[2]] = (provider, "batch" if in_batch else received.service_tier or "", usage)
            if received.tools:
                return Script("", (ToolCall("look_up", {"word": "Seoul"}),), Ending.TOOLS, usage)
            return Script(f"{SECRET_ANSWER} to {text}", usage=usage)

        return answer

    def cost(self) -> Decimal:
        return sum((_cost(*each) for each in self.answered.values()), Decimal(0))


def _cost(provider: str, tier: str, usage: Usage) -> Decimal:
    share = 2 if tier in HALF_PRICE else 1
    if provider in OWN_PRICES:
        into, out = (Decimal(str(price)) for price in OWN_PRICES[provider])
        return (usage.prompt * into + usage.completion * out) / 1_000_000 / share
    counted = LibraryUsage(
        input_tokens=usage.prompt,
        output_tokens=usage.completion,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
    )
    return calc_price(counted, MODELS[provider], provider_id=LIBRARY[provider]).total_price / share


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def fleet(cluster: Cluster, account: Account) -> Iterator[Cluster]:
    """A cluster with one endpoint for each provider."""
    cluster.start_redis() if not cluster.settings.get("redis_url") else None
    with ExitStack() as stack:
        for provider, model in MODELS.items():
            fake = FAKE_PROVIDERS[provider]
            server = stack.enter_context((BatchServer if provider in DIALECTS else ProviderServer)(fake))
            server.answer = account.answering(provider, tuple(fake.counts), server)
            endpoint = server.endpoint(name=provider, models={"m": model})
            price = OWN_PRICES.get(provider)
            entry = {
                "name": provider,
                "url": endpoint.url,
                "provider": endpoint.provider,
                "models": {"m": model},
                "api_key": KEY,
                "max_concurrency": 16,
                "drop_params": True,
                "batch": provider in DIALECTS,
                **({"options": endpoint.options} if endpoint.options else {}),
                **({"price": {"input": price[0], "output": price[1]}} if price else {}),
            }
            cluster.settings["endpoints"].append(entry)
        yield cluster


async def test_a_thousand_lines_over_five_providers(fleet: Cluster, account: Account) -> None:
    fleet.write_config()
    await fleet.start_worker()
    _, url = await fleet.start_api()
    ids = [f"line-{number:04d}" for number in range(LINES)]
    async with fleet.node() as node:
        job = await ended(node, await _submit(node, ids), 90)
        output, errors = await check_each_once(node, job, ids)
        assert not errors and len(output) == LINES
        _assert_alike(output)
        _assert_sums([job], account)
        assert set(job.shares) == set(MODELS), "every provider answered some"
        in_batches = [f"batch-{number:04d}" for number in range(LINES_IN_BATCHES)]
        batches = await ended(node, await _submit(node, in_batches, "batch"), 90)
        output, errors = await check_each_once(node, batches, in_batches)
        assert not errors
        _assert_alike(output)
        assert {account.answered[custom_id][1] for custom_id in in_batches} == {"batch"}
        _assert_sums([job, batches], account)
        await _assert_usage(url, account)
        assert HTTP.get(f"{url}/api/v1/jobs/{job.id}").json()["tokens"]["input"] == job.tokens.prompt
        await _assert_discreet(fleet, node, url)


async def _submit(node: Any, ids: list[str], price_class: str = "") -> Any:
    """Open a job of chats: some with tools, some with thinking, some in flex."""
    lines = []
    for number, custom_id in enumerate(ids):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{SECRET_PROMPT} {custom_id}"}]
        body: dict[str, Any] = {"model": "m", "max_tokens": 5_000, "messages": messages}
        if number % 2:
            body["service_tier"] = "flex"
        if number % 5 == 0:
            body["tools"] = [TOOL]
        if number % 7 == 0:
            body["reasoning_effort"] = "low"
        lines.append({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body})
    content = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    file = await node.service.files.add(Upload("in.jsonl"), _chunks(content))
    return await node.service.submit(JobRequest(file.id, CHAT, price_class=price_class))


async def _chunks(content: bytes) -> Any:
    yield content


def _assert_alike(output: list[dict[str, Any]]) -> None:
    """Every answer is a chat completion of the same make, whoever gave it."""
    for row in output:
        completion = ChatCompletion.model_validate(row["response"]["body"])
        assert completion.object == "chat.completion"
        if calls := completion.choices[0].message.tool_calls:
            assert calls[0].type == "function"
            assert orjson.loads(calls[0].function.arguments) == {"word": "Seoul"}
            assert completion.choices[0].finish_reason == "tool_calls"
        else:
            assert completion.choices[0].message.content == f"{SECRET_ANSWER} to {SECRET_PROMPT} {row['custom_id']}"
            assert completion.choices[0].finish_reason == "stop"
        assert completion.usage is not None
        assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
        assert row["response"]["status_code"] == 200 and row["error"] is None


def _assert_sums(jobs: list[Any], account: Account) -> None:
    usages = [usage for _, _, usage in account.answered.values()]
    assert {tier for provider, tier, _ in account.answered.values() if provider == "openai"} >= {"", "flex"}
    assert len(usages) == sum(job.ledger.total for job in jobs)
    for name in ("prompt", "completion", "cached", "reasoning"):
        assert sum(getattr(job.tokens, name) for job in jobs) == sum(getattr(usage, name) for usage in usages), name
    assert not any(job.unpriced for job in jobs)
    expected = account.cost()
    assert expected > 1
    assert abs(sum(Decimal(str(job.cost)) for job in jobs) - expected) < Decimal("0.005"), "to the cent"


async def _assert_usage(url: str, account: Account) -> None:
    """The account by endpoint agrees with what the servers answered, and counts the refused attempts."""

    def by_endpoint() -> dict[str, dict[str, Any]]:
        return {row["endpoint"]: row for row in HTTP.get(f"{url}/api/v1/usage", params={"by": "endpoint"}).json()["data"]}

    await until(
        lambda: sum(row["requests"] for row in by_endpoint().values()) == account.requests, 10, "the account to be written"
    )
    for provider, row in by_endpoint().items():
        mine = [each for each in account.answered.values() if each[0] == provider]
        own = [usage for _, _, usage in mine]
        assert row["requests"] - row["errors"] == len(own)
        assert row["tokens"]["input"] == sum(usage.prompt for usage in own)
        assert row["tokens"]["output"] == sum(usage.completion for usage in own)
        expected = sum((_cost(*each) for each in mine), Decimal(0))
        assert abs(Decimal(str(row["cost"])) - expected) < Decimal("0.005")


async def _assert_discreet(fleet: Cluster, node: Any, url: str) -> None:
    """Keys are in no log, no Redis, no file and no answer; prompts and answers only in the object store."""
    redis = [(await node.redis.dump(key)) or b"" async for key in node.redis.scan_iter()]
    append_only = [path.read_bytes() for path in (fleet.folder / "store" / "redis").rglob("*") if path.is_file()]
    logs = [path.read_bytes() for path in fleet.folder.glob("*.log")]
    answers = [
        HTTP.get(f"{url}/{path}").content for path in ("api/v1/endpoints", "api/v1/system/info", "metrics", "api/v1/usage")
    ]
    assert KEY in fleet.config.read_text(), "else this test proves nothing"
    for held in (*redis, *append_only, *logs, *answers):
        assert KEY.encode() not in held
    for held in (*logs, *answers):
        assert SECRET_PROMPT.encode() not in held
        assert SECRET_ANSWER.encode() not in held
    stored = [path for path in (fleet.folder / "store").rglob("*") if path.is_file() and "redis" not in path.parts]
    assert stored
    for path in stored:
        assert KEY.encode() not in path.read_bytes()

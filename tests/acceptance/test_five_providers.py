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
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer, ReceivedRequest, Reply, Script, Text
from tests.fake_providers.base import KEY
from tests.waiting import until

LINES = 1000
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
LIBRARY = {"anthropic": "anthropic", "gemini": "google"}
SECRET_PROMPT, SECRET_ANSWER = "a secret question", "a secret answer"


class Account:
    """What the servers answered for each line, and what that costs, without the code that is tested."""

    def __init__(self) -> None:
        self.answered: dict[str, tuple[str, str, Usage]] = {}
        self.requests = 0

    def answering(self, provider: str, counts: tuple[str, ...]) -> Any:
        rng = random.Random(provider)

        def answer(received: ReceivedRequest) -> Script | Reply:
            self.requests += 1
            if rng.randrange(FAILING) == 0:
                return Reply(503, b"{}")
            text = next(part.text for part in received.turns[-1].parts if isinstance(part, Text))
            prompt = rng.randrange(20, 400_000)
            usage = Usage(prompt, rng.randrange(1, 5_000), rng.randrange(0, prompt), 0)
            usage = Usage(**{name: getattr(usage, name) for name in counts})
            # OpenAI and Gemini have flex processing: the others are not asked for it.
            assert received.service_tier is None or provider in ("openai", "vllm", "gemini")
            self.answered[text.rpartition(" ")[2]] = (provider, received.service_tier or "", usage)
            return Script(f"{SECRET_ANSWER} to {text}", usage=usage)

        return answer

    def cost(self) -> Decimal:
        return sum((_cost(*each) for each in self.answered.values()), Decimal(0))


def _cost(provider: str, tier: str, usage: Usage) -> Decimal:
    if provider in OWN_PRICES:
        into, out = (Decimal(str(price)) for price in OWN_PRICES[provider])
        return (usage.prompt * into + usage.completion * out) / 1_000_000 / (2 if tier == "flex" else 1)
    counted = LibraryUsage(input_tokens=usage.prompt, output_tokens=usage.completion, cache_read_tokens=usage.cached)
    return calc_price(counted, MODELS[provider], provider_id=LIBRARY[provider]).total_price / (2 if tier == "flex" else 1)


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
            server = stack.enter_context(ProviderServer(fake, account.answering(provider, tuple(fake.counts))))
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
        lines = [
            {
                "custom_id": custom_id,
                "method": "POST",
                "url": CHAT,
                "body": {
                    "model": "m",
                    "max_tokens": 5_000,
                    **({"service_tier": "flex"} if int(custom_id[-1]) % 2 else {}),
                    "messages": [
                        {"role": "system", "content": "Be brief."},
                        {"role": "user", "content": f"{SECRET_PROMPT} {custom_id}"},
                    ],
                },
            }
            for custom_id in ids
        ]
        file = await node.service.files.add(Upload("in.jsonl"), _chunks(b"".join(orjson.dumps(line) + b"\n" for line in lines)))
        job = await ended(node, await node.service.submit(JobRequest(file.id, CHAT)), 90)
        output, errors = await check_each_once(node, job, ids)
        assert not errors and len(output) == LINES
        _assert_alike(output)
        _assert_sums(job, account)
        await _assert_usage(url, account)
        assert set(job.shares) == set(MODELS), "every provider answered some"
        job_object = HTTP.get(f"{url}/api/v1/jobs/{job.id}").json()
        assert job_object["tokens"]["input"] == sum(usage.prompt for _, _, usage in account.answered.values())
        await _assert_discreet(fleet, node, url)


async def _chunks(content: bytes) -> Any:
    yield content


def _assert_alike(output: list[dict[str, Any]]) -> None:
    """Every answer is a chat completion of the same make, whoever gave it."""
    for row in output:
        completion = ChatCompletion.model_validate(row["response"]["body"])
        assert completion.object == "chat.completion"
        assert completion.choices[0].message.content == f"{SECRET_ANSWER} to {SECRET_PROMPT} {row['custom_id']}"
        assert completion.choices[0].finish_reason == "stop"
        assert completion.usage is not None
        assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
        assert row["response"]["status_code"] == 200 and row["error"] is None


def _assert_sums(job: Any, account: Account) -> None:
    usages = [usage for _, _, usage in account.answered.values()]
    assert {tier for provider, tier, _ in account.answered.values() if provider == "openai"} == {"", "flex"}
    assert len(usages) == LINES
    assert job.tokens.prompt == sum(usage.prompt for usage in usages)
    assert job.tokens.completion == sum(usage.completion for usage in usages)
    assert job.tokens.cached == sum(usage.cached for usage in usages)
    assert job.unpriced == 0
    expected = account.cost()
    assert expected > 1
    assert abs(Decimal(str(job.cost)) - expected) < Decimal("0.005"), "to the cent"


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

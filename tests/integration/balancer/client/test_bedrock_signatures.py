"""Requests to Bedrock without a key are signed with AWS credentials."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from balancer import AsyncLoadBalancer
from balancer.outcome import FailureKind
from balancer.providers.bedrock import signing
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer
from tests.fake_providers.fake_bedrock import ACCESS_KEY, SECRET_KEY

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No credentials but the test's own, and none kept from another test."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    signing._credentials.cache_clear()
    yield
    signing._credentials.cache_clear()


async def test_a_request_is_signed_and_a_wrong_secret_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    with ProviderServer(FAKE_PROVIDERS["bedrock"]) as server:
        endpoint = server.endpoint(api_key=None, models={"m": "amazon.nova-pro-v1:0"})
        async with AsyncLoadBalancer([endpoint], enable_health_check=False, retry_count=0) as balancer:
            answer = await balancer.chat(HI, model="m")
            assert answer.success, (answer.error, server.refused)
            chunks = [chunk async for chunk in await balancer.chat(HI, model="m", stream=True)]
            assert "".join(chunk.content for chunk in chunks) == answer.content
            signing._credentials.cache_clear()
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
            assert not (await balancer.chat(HI, model="m")).success
    assert server.refused == ["the signature does not match"]


async def test_without_credentials_nothing_is_sent() -> None:
    with ProviderServer(FAKE_PROVIDERS["bedrock"]) as server:
        endpoint = server.endpoint(api_key=None, models={"m": "m"})
        async with AsyncLoadBalancer([endpoint], enable_health_check=False, retry_count=0) as balancer:
            result = await balancer.chat(HI, model="m")
    assert result.failure is not None and result.failure.kind is FailureKind.AUTHENTICATION
    assert "there are no AWS credentials: set AWS_ACCESS_KEY_ID" in (result.error or "")
    assert not server.bodies

"""The chat models that tests make."""

from collections.abc import AsyncIterator

import pytest
from chat_models import Models


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    made = Models()
    yield made
    await made.aclose()

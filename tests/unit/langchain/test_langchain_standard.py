"""LangChain's own standard tests for chat models."""

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.unit_tests import ChatModelUnitTests

from api_roadbalancer.langchain import ChatRoadbalancer


class TestChatRoadbalancerStandard(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatRoadbalancer

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"endpoints": ["http://127.0.0.1:9/v1"], "model": "m"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        environment = {"LLM_ENDPOINTS": "http://one:8000/v1,http://two:8000/v1", "LLM_API_KEYS": "sk-1,sk-2"}
        return environment, {"model": "m"}, {"endpoint_names": ["one:8000", "two:8000"]}

    @property
    def supports_model_override(self) -> bool:
        return True

    @pytest.fixture(autouse=True)
    def _no_settings_from_outside(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("ROADBALANCER_CONFIG", raising=False)

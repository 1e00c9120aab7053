"""The parts of a LiteLLM proxy's configuration file that are read. Other keys are kept so that they can be reported.

The format: https://docs.litellm.ai/docs/proxy/configs.
"""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from balancer.configuration.fields import Address, ApiKey, Checked, Count, Retries, Seconds, Temperature, Weight

__all__ = ["LiteLLMEntry", "LiteLLMFile", "LiteLLMModule", "LiteLLMParams", "LiteLLMRouter"]

Cost = Annotated[float, Field(ge=0)]
"""USD per token."""


class _Open(Checked):
    model_config = ConfigDict(extra="allow", populate_by_name=True)

    def others(self) -> dict[str, Any]:
        """Return what stands there beside the keys that are read."""
        return self.model_extra or {}


class LiteLLMParams(_Open):
    """`litellm_params` of an entry."""

    model: str
    api_base: Address | None = None
    api_key: ApiKey | None = None
    rpm: Count | None = None
    tpm: Count | None = None
    weight: Weight = 1.0
    timeout: Seconds | None = None
    order: int = 1
    max_parallel_requests: Annotated[int, Field(gt=0, le=100_000)] | None = None
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    drop_params: bool | None = None
    input_cost_per_token: Cost | None = None
    output_cost_per_token: Cost | None = None
    cache_read_input_token_cost: Cost | None = None


class LiteLLMEntry(_Open):
    """One entry of `model_list`. `params` are checked later: those of an entry that is left out may be wrong."""

    model_name: Annotated[str, Field(min_length=1)]
    params: dict[str, Any] = Field(alias="litellm_params")
    model_info: dict[str, Any] = Field(default_factory=dict)


class LiteLLMModule(_Open):
    """`litellm_settings`."""

    num_retries: Retries | None = None
    request_timeout: Seconds | None = None
    drop_params: bool = False


class LiteLLMRouter(_Open):
    """`router_settings`."""

    routing_strategy: str = "simple-shuffle"
    num_retries: Retries | None = None
    timeout: Seconds | None = None


class LiteLLMFile(_Open):
    """A whole file."""

    model_list: list[LiteLLMEntry]
    litellm_settings: LiteLLMModule = LiteLLMModule()
    router_settings: LiteLLMRouter = LiteLLMRouter()

"""Chats through LiteLLM's Router. Runs in the environment of bench/requirements-litellm.txt."""

import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

from litellm import Router  # type: ignore[import-not-found]

from bench.competitors.threads import measure

__all__: list[str] = []

if __name__ == "__main__":
    address, *counts = sys.argv[1:]
    parameters = {"model": "openai/simulated", "api_base": address, "api_key": "none"}
    router = Router(model_list=[{"model_name": "simulated", "litellm_params": parameters} for _ in range(2)], num_retries=2)

    def chat() -> object:
        return router.completion(model="simulated", messages=[{"role": "user", "content": "Hello!"}])

    measure(chat, *map(int, counts))

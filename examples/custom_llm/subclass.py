"""A subclass of a class that is there already: only `_call_api` is new, and everything above it stays as it was.

python examples/custom_llm/subclass.py fleet.yaml
LLM_ENDPOINTS=http://gpu1:8000/v1,http://gpu2:8000/v1 python examples/custom_llm/subclass.py
"""

import sys
from typing import Any

from existing_llm import ExistingLLM, Messages

from api_roadbalancer import LoadBalancer


class BalancedLLM(ExistingLLM):
    """ExistingLLM over a fleet. Its `base_url` and `api_key` are of no use here: the endpoints have their own."""

    def __init__(self, balancer: LoadBalancer, **settings: Any) -> None:
        super().__init__(**settings)
        self._balancer = balancer

    def _call_api(self, messages: Messages) -> str:
        result = self._balancer.chat(messages, model=self.model or None, temperature=self.temperature)
        if not result.success:
            raise RuntimeError(f"no endpoint answered: {result.error}")
        return result.content or ""


def main() -> None:
    with LoadBalancer.from_config(sys.argv[1]) if len(sys.argv) > 1 else LoadBalancer.from_env() as balancer:
        llm = BalancedLLM(balancer, temperature=0.2)
        for answer in llm.generate_many(["Name a river.", "Name a lake.", "Name a sea."]):
            print(answer)
        for endpoint in balancer.get_stats()["endpoints"]:
            print(f"{endpoint['name']}: {endpoint['requests']} requests")


if __name__ == "__main__":
    main()

"""Dependency injection: a factory makes a callable over the balancer, and an unchanged class takes it.

python examples/custom_llm/injection.py fleet.yaml
LLM_ENDPOINTS=http://gpu1:8000/v1,http://gpu2:8000/v1 python examples/custom_llm/injection.py
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from existing_translator import Ask, Translator

from api_roadbalancer import LoadBalancer


def make_ask(balancer: LoadBalancer, **fields: Any) -> Ask:
    """Return a callable that asks the fleet. `fields` go with each request: `model`, `temperature`, `max_tokens`, `seed`."""

    def ask(prompt: str) -> str:
        result = balancer.chat([{"role": "user", "content": prompt}], **fields)
        if not result.success:
            raise RuntimeError(f"no endpoint answered: {result.error}")
        return result.content or ""

    return ask


def main() -> None:
    with LoadBalancer.from_config(sys.argv[1]) if len(sys.argv) > 1 else LoadBalancer.from_env() as balancer:
        translator = Translator(make_ask(balancer, temperature=0), "Korean")
        # The callable is safe from many threads: that is how a fleet is kept busy.
        with ThreadPoolExecutor(max_workers=8) as threads:
            for translation in threads.map(translator.translate, ["Good morning.", "Thank you.", "See you tomorrow."]):
                print(translation)


if __name__ == "__main__":
    main()

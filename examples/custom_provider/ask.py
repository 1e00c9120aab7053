"""Asks the parrots of a configuration file: `python ask.py fleet.yaml "Hello there"`."""

import sys

from api_roadbalancer import LoadBalancer


def main(path: str, question: str) -> int:
    """Print the answer, whole and then piece by piece."""
    messages = [{"role": "user", "content": question}]
    with LoadBalancer.from_config(path) as balancer:
        result = balancer.chat(messages)
        print(result.content if result.success else result.error)
        if result.success:
            print([chunk.content for chunk in balancer.chat(messages, stream=True) if chunk.content])
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

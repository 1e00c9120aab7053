"""A class of one's own with a chat history; the balancer is inside, and callers see the interface that they know.

python examples/custom_llm/wrapper.py fleet.yaml
LLM_ENDPOINTS=http://gpu1:8000/v1,http://gpu2:8000/v1 python examples/custom_llm/wrapper.py
"""

import sys
from types import TracebackType
from typing import Self

from api_roadbalancer import LoadBalancer


class ChatBotError(Exception):
    """No endpoint answered."""


class ChatBot:
    """A conversation: `ask` answers in the light of everything that was said before."""

    def __init__(self, balancer: LoadBalancer, system_prompt: str = "You are a helpful assistant.") -> None:
        self._balancer = balancer
        self._system_prompt = system_prompt
        self.history: list[dict[str, str]] = []

    def ask(self, question: str) -> str:
        """Return the answer. A question that got none leaves no trace in the history, so it can be asked again."""
        asked = [*self.history, {"role": "user", "content": question}]
        result = self._balancer.chat([{"role": "system", "content": self._system_prompt}, *asked])
        if not result.success:
            raise ChatBotError(result.error)
        answer = result.content or ""
        self.history = [*asked, {"role": "assistant", "content": answer}]
        return answer

    def reset(self) -> None:
        """Begin a new conversation."""
        self.history = []

    def close(self) -> None:
        self._balancer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def main() -> None:
    balancer = LoadBalancer.from_config(sys.argv[1]) if len(sys.argv) > 1 else LoadBalancer.from_env()
    with ChatBot(balancer) as bot:
        for question in ("Name a river in Korea.", "And one in France?"):
            print("You:", question)
            print("Bot:", bot.ask(question))
        print(len(bot.history), "messages in the history")


if __name__ == "__main__":
    main()

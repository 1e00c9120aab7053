"""The class that was there before: it knows one server. Nothing here changes for the load balancer (see subclass.py)."""

import os
import time

import httpx

Messages = list[dict[str, str]]


class ExistingLLM:
    """Asks one OpenAI-compatible server."""

    def __init__(self, base_url: str = "", api_key: str = "", model: str = "", temperature: float = 0.7) -> None:
        self.base_url = base_url or os.environ.get("LLM_BASE_URL", "http://127.0.0.1:8000/v1")
        self.api_key = api_key
        self.model = model
        self.temperature = temperature
        self.seconds = 0.0

    def generate(self, prompt: str, system_prompt: str = "") -> str:
        messages = [{"role": "system", "content": system_prompt}] if system_prompt else []
        started = time.perf_counter()
        try:
            return self._call_api([*messages, {"role": "user", "content": prompt}]).strip()
        finally:
            self.seconds += time.perf_counter() - started

    def generate_many(self, prompts: list[str]) -> list[str]:
        return [self.generate(prompt) for prompt in prompts]

    def _call_api(self, messages: Messages) -> str:
        response = httpx.post(
            f"{self.base_url}/chat/completions",
            headers={"Authorization": f"Bearer {self.api_key}"} if self.api_key else {},
            json={"model": self.model, "messages": messages, "temperature": self.temperature},
            timeout=60,
        )
        response.raise_for_status()
        return str(response.json()["choices"][0]["message"]["content"])

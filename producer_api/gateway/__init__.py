"""The interactive door: chat requests that are answered while the caller waits."""

from producer_api.gateway import chat, responses, sessions

__all__ = ["chat", "responses", "sessions"]

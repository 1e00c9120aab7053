"""The interactive door: chat requests that are answered while the caller waits."""

from producer_api.gateway import chat, sessions

__all__ = ["chat", "sessions"]

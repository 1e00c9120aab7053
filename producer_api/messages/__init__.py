"""Anthropic's Messages API: messages, token counts and message batches over the fleet."""

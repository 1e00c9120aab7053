"""Webhooks of jobs: what is sent where when a job ends or pauses, signed as Standard Webhooks has it."""

from jobs.webhooks.settings import EVENTS, Webhook, parse_webhook

__all__ = ["EVENTS", "Webhook", "parse_webhook"]

"""A job's webhook on the wire (see jobs.webhooks)."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from jobs.records import Job
from jobs.webhooks import EVENTS, Webhook, parse_webhook
from jobs.webhooks.delivery import Delivery

__all__ = ["JobWebhook", "WebhookDeliveries", "WebhookSettings", "kept_webhook"]


class WebhookSettings(BaseModel):
    """Where a job's events are sent: POST requests to the https address `url`, signed with `secret` (`whsec_` and 24 to 64 bytes
    in base64) as Standard Webhooks has it, for the named `events`, or for every one."""

    model_config = ConfigDict(extra="forbid")

    url: str
    secret: Annotated[str, Field(max_length=200)]
    events: Annotated[list[str], Field(min_length=1, max_length=len(EVENTS))] | None = None


class JobWebhook(BaseModel):
    """A job's webhook, without its secret."""

    url: str
    events: list[str]

    @classmethod
    def of(cls, job: Job) -> "JobWebhook | None":
        """Make it of a job's; None if it has none."""
        if not job.webhook:
            return None
        webhook = Webhook.from_json(job.webhook)
        return cls(url=webhook.url, events=list(webhook.events))


class WebhookAttempt(BaseModel):
    """An attempt to deliver an event: the receiver's HTTP status, or the error that kept it from having one."""

    at: int
    status: int | None
    error: str | None


class WebhookDelivery(BaseModel):
    """An event of a job and how it was delivered; it is sent again at `next_at` while it is `pending`."""

    id: str
    event: str
    created_at: int
    state: Literal["pending", "delivered", "failed"]
    next_at: int | None
    attempts: list[WebhookAttempt]
    body: dict[str, Any]


class WebhookDeliveries(BaseModel):
    """The events of a job that were sent to its webhook, oldest first."""

    object: Literal["list"] = "list"
    data: list[WebhookDelivery]

    @classmethod
    def of(cls, deliveries: list[Delivery]) -> "WebhookDeliveries":
        """Make it of a job's deliveries."""
        return cls(
            data=[
                WebhookDelivery(
                    id=each.id,
                    event=each.event,
                    created_at=each.created_at,
                    state=each.state,
                    next_at=each.next_at,
                    attempts=[WebhookAttempt(at=a.at, status=a.status, error=a.error) for a in each.attempts],
                    body=orjson.loads(each.body),
                )
                for each in deliveries
            ]
        )


def kept_webhook(webhook: WebhookSettings | None, private_addresses: bool) -> str:
    """Return a webhook as a job keeps it, "" for none. Raises InvalidRequest."""
    if webhook is None:
        return ""
    return parse_webhook(webhook.url, webhook.secret, webhook.events, private_addresses).as_json()

"""Signs requests with AWS' Signature Version 4, by botocore: the credentials come from where AWS' own tools find them."""

from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError

__all__ = ["region_of", "signed_headers"]

SERVICE = "bedrock"


def region_of(endpoint: Endpoint) -> str:
    """Return an endpoint's region: its option, else that in its address `bedrock-runtime.REGION.amazonaws.com`; "" if unknown."""
    labels = (urlsplit(endpoint.url).hostname or "").split(".")
    in_address = labels[1] if len(labels) > 3 and labels[0].startswith("bedrock-runtime") else ""
    return endpoint.options.get("region") or in_address


def signed_headers(endpoint: Endpoint, url: str, body: bytes) -> dict[str, str]:
    """Return the headers that sign a POST. Raises ConfigurationError where there are no credentials."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest("POST", url, data=body, headers={"content-type": "application/json"})
    SigV4Auth(_credentials(endpoint.options.get("profile")), SERVICE, region_of(endpoint)).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@lru_cache(maxsize=16)
def _credentials(profile: str | None) -> Any:
    """Find the credentials of a profile, once: they renew themselves where they have to."""
    from botocore.session import Session

    credentials = Session(profile=profile).get_credentials()
    if credentials is None:
        reason = "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or an `api_key`"
        raise ConfigurationError("bedrock", "api_key", reason)
    return credentials

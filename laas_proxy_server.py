"""Wanted LaaS behind LiteLLM: a custom handler for its proxy and for `litellm.completion`.

In the proxy's configuration:

    model_list:
      - model_name: summary
        litellm_params: {model: laas/summary, hash: <preset>}
    litellm_settings:
      custom_provider_map:
        - {provider: laas, custom_handler: laas_proxy_server.laas_proxy}

In a program:

    litellm.custom_provider_map = [{"provider": "laas", "custom_handler": laas_proxy_server.laas_proxy}]
    litellm.completion(model="laas/summary", messages=[...], hash="<preset>", params={"name": "Kim"})

What comes behind `laas/` is a label: the preset says which model answers. `hash`, `params`, `project` and `laas_model` (a model
in place of the preset's) are LaaS' own fields, set for a model or in a request. Left out, `api_key`, `project`, `hash` and
`api_base` come from LAAS_API_KEY, LAAS_PROJECT_CODE, LAAS_PRESET_HASH and LAAS_BASE_URL, of the environment or of a `.env` file.

Images, PDFs, limits and errors are those of Roadbalancer's own adapter for LaaS. LaaS doesn't stream: a whole answer
is cut into pieces, between words.

Each request and its result is logged at DEBUG to the logger `laas_proxy_server`, without keys and content.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

try:
    import litellm
except ModuleNotFoundError as exc:
    if exc.name != "litellm":
        raise
    raise ImportError("laas_proxy_server needs LiteLLM: pip install 'roadbalancer[litellm]'", name="litellm") from exc
from litellm.llms.custom_llm import CustomLLMError
from litellm.types.utils import GenericStreamingChunk

from balancer.configuration.environment import environment
from balancer.endpoint import Endpoint
from balancer.fleet.streaming import chunks_of
from balancer.outcome import Failure, FailureKind
from balancer.providers import Adapter, Call, RequestRefused, adapter_for, facts_of
from balancer.results import first_choice

__all__ = ["LaaSError", "LaaSProxy", "laas", "laas_proxy"]

log = logging.getLogger(__name__)

PATH = "/chat/completions"
TIMEOUT_SECONDS = 600.0
"""Where LiteLLM says nothing."""
LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100)
_LITELLMS_OWN = frozenset({"max_retries"})
"""Fields among a request's that are for LiteLLM's clients."""
_NO_FIELDS = frozenset({"model", "messages", "api_key", "api_base", "timeout", "model_response", "litellm_params", "headers"})
"""What is no field of the request in a direct call."""
_STATUS = {
    FailureKind.CONNECTION: 503,
    FailureKind.TIMEOUT: 504,
    FailureKind.RATE_LIMIT: 429,
    FailureKind.OVERLOADED: 503,
    FailureKind.SERVER: 500,
    FailureKind.INVALID_RESPONSE: 502,
    FailureKind.AUTHENTICATION: 401,
    FailureKind.QUOTA: 429,
}
"""For failures that came without a status of their own; a request that is refused has 400."""


class LaaSError(CustomLLMError):
    """What LiteLLM makes its own exceptions of: by `status_code`, with `headers` for how long to wait."""

    def __init__(self, status_code: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(status_code=status_code, message=message)
        self.headers = httpx.Headers({} if retry_after is None else {"retry-after": f"{retry_after:g}"})


class LaaSProxy(litellm.CustomLLM):
    """The four ways in which LiteLLM asks for a chat. One object serves all threads and event loops.

    LiteLLM's arguments come by keyword; those that are used here are `model`, `messages`, `api_key`, `api_base`,
    `optional_params` (the request's other fields), `litellm_params`, `timeout` (seconds, or httpx's) and `model_response`, which
    is filled. In a direct call only `model` and `messages` have to be there, and other fields come by their names. All four raise
    LaaSError. Transports can be put in for tests.
    """

    def __init__(
        self, transport: httpx.BaseTransport | None = None, async_transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__()
        self._clients = _Clients(transport, async_transport)

    def completion(self, **asked: Any) -> litellm.ModelResponse:
        return _filled(_to_fill(asked), self._answer(_exchange(asked)), asked["model"])

    async def acompletion(self, **asked: Any) -> litellm.ModelResponse:
        return _filled(_to_fill(asked), await self._answer_async(_exchange(asked)), asked["model"])

    def streaming(self, **asked: Any) -> Iterator[GenericStreamingChunk]:
        # No generator: what goes wrong is raised by the call itself, where LiteLLM falls back and retries.
        return iter(_pieces(self._answer(_exchange(asked))))

    async def astreaming(self, **asked: Any) -> AsyncIterator[GenericStreamingChunk]:
        for piece in _pieces(await self._answer_async(_exchange(asked))):
            yield piece

    def _answer(self, exchange: "_Exchange") -> Mapping[str, Any]:
        exchange.begin()
        try:
            response = self._clients.sync().post(exchange.url, **exchange.sending)
        except httpx.HTTPError as exc:
            raise exchange.unanswered(exc) from None
        return exchange.answer(response)

    async def _answer_async(self, exchange: "_Exchange") -> Mapping[str, Any]:
        exchange.begin()
        try:
            response = await self._clients.of_this_loop().post(exchange.url, **exchange.sending)
        except httpx.HTTPError as exc:
            raise exchange.unanswered(exc) from None
        return exchange.answer(response)


@dataclass(slots=True)
class _Exchange:
    """One request to LaaS, and how its answer is read. `fields` are the names of what is sent."""

    endpoint: Endpoint
    adapter: Adapter
    call: Call
    timeout: float | httpx.Timeout
    fields: tuple[str, ...]
    begun: float = 0.0

    @property
    def url(self) -> str:
        return self.endpoint.url + self.call.path

    @property
    def sending(self) -> dict[str, Any]:
        return {"content": self.call.body, "headers": self.adapter.headers(self.endpoint), "timeout": self.timeout}

    def begin(self) -> None:
        """Log what is about to be sent."""
        self.begun = time.monotonic()
        size = len(self.call.body)
        log.debug("%s: POST %s, %d bytes with %s", self.endpoint.name, self.url, size, ", ".join(self.fields))

    def answer(self, response: httpx.Response) -> Mapping[str, Any]:
        """Return the answer as an OpenAI completion. Raises LaaSError."""
        answer = self.adapter.answer(self.call, response.status_code, response.headers, response.content)
        if answer.failure is not None or answer.parsed is None:
            raise self._error(answer.failure or Failure(FailureKind.INVALID_RESPONSE, "an answer that holds none"))
        usage, took = answer.usage, time.monotonic() - self.begun
        log.debug("%s: answered in %.2f s, %d + %d tokens", self.endpoint.name, took, usage.prompt, usage.completion)
        return answer.parsed

    def unanswered(self, error: httpx.HTTPError) -> LaaSError:
        """Return what is raised where nothing came back."""
        kind = FailureKind.TIMEOUT if isinstance(error, httpx.TimeoutException) else FailureKind.CONNECTION
        return self._error(Failure(kind, f"no answer from LaaS: {type(error).__name__}: {error}".rstrip(": ")))

    def _error(self, failure: Failure) -> LaaSError:
        said = failure.status if failure.status and failure.status >= 400 else _STATUS.get(failure.kind, 400)
        # Should LaaS repeat the key in an error, it goes no further.
        key = self.endpoint.api_key
        message = failure.message.replace(key, "***") if key else failure.message
        log.debug("%s: failed after %.2f s: %s", self.endpoint.name, time.monotonic() - self.begun, message)
        return LaaSError(said, message, failure.retry_after)


def _exchange(asked: Mapping[str, Any]) -> _Exchange:
    """Translate LiteLLM's request, and check it against LaaS' limits. Raises LaaSError."""
    directly = {name: value for name, value in asked.items() if name not in _NO_FIELDS and value is not None}
    given = asked["optional_params"] or {} if "optional_params" in asked else directly
    fields = {name: value for name, value in given.items() if name not in _LITELLMS_OWN}
    endpoint = _endpoint(asked, fields.pop("project", None))
    model = fields.pop("laas_model", None)
    body = {**fields, "model": model, "messages": asked["messages"]}
    adapter = adapter_for("laas")
    try:
        call = adapter.call(endpoint, PATH, body)
    except RequestRefused as exc:
        log.debug("%s: refused before it was sent: %s", endpoint.name, exc)
        raise LaaSError(400, str(exc)) from None
    names = tuple(sorted(name for name, value in body.items() if value is not None))
    return _Exchange(endpoint, adapter, call, asked.get("timeout") or TIMEOUT_SECONDS, names)


def _endpoint(asked: Mapping[str, Any], project: str | None) -> Endpoint:
    """Put together where to ask, and as whom: what LiteLLM says, else the environment. Raises LaaSError (401)."""
    env = environment()
    key = asked.get("api_key") or env.get("LAAS_API_KEY")
    project = project or env.get("LAAS_PROJECT_CODE")
    if not key:
        raise LaaSError(401, "LaaS needs a key: set LAAS_API_KEY, or `api_key` for the model")
    if not project:
        raise LaaSError(401, "LaaS needs a project: set LAAS_PROJECT_CODE, or `project` for the model")
    return Endpoint(
        asked.get("api_base") or env.get("LAAS_BASE_URL") or facts_of("laas").default_url or "",
        name=f"laas/{asked['model']}",
        provider="laas",
        api_key=key,
        options={"project": project, "hash": env.get("LAAS_PRESET_HASH", "")},
        drop_params=bool((asked.get("litellm_params") or {}).get("drop_params") or litellm.drop_params),
    )


def _to_fill(asked: Mapping[str, Any]) -> litellm.ModelResponse:
    """Return LiteLLM's object for the answer; a new one in a direct call."""
    given = asked.get("model_response")
    return litellm.ModelResponse() if given is None else given


def _filled(response: litellm.ModelResponse, made: Mapping[str, Any], label: str) -> litellm.ModelResponse:
    """Put an OpenAI completion into LiteLLM's own object."""
    response.id, response.created, response.model = made["id"], made["created"], made["model"] or label
    response.choices = [litellm.Choices(**choice) for choice in made["choices"]]
    if usage := made.get("usage"):
        response.usage = litellm.Usage(**usage)
    return response


def _pieces(made: Mapping[str, Any]) -> list[GenericStreamingChunk]:
    """Cut a whole answer into LiteLLM's chunks. The last one has the reason and the tokens."""
    pieces = []
    for chunk in chunks_of({**made, "usage": None}):
        choice = first_choice(chunk)
        text, reason, calls = choice["delta"].get("content"), choice["finish_reason"], choice["delta"].get("tool_calls")
        pieces.append(
            GenericStreamingChunk(
                text=text or "",
                is_finished=reason is not None,
                finish_reason=reason or "",
                usage=made.get("usage") if reason else None,
                index=0,
                tool_use=calls[0] if calls else None,
            )
        )
    return pieces


@dataclass(slots=True)
class _Clients:
    """Clients that keep their connections: one for all threads, and one for each event loop, to which its connections belong."""

    transport: httpx.BaseTransport | None
    async_transport: httpx.AsyncBaseTransport | None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sync: httpx.Client | None = None
    _by_loop: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = field(default_factory=dict)

    def sync(self) -> httpx.Client:
        """Return the client for calls that block."""
        with self._lock:
            if self._sync is None:
                self._sync = httpx.Client(transport=self.transport, limits=LIMITS)
            return self._sync

    def of_this_loop(self) -> httpx.AsyncClient:
        """Return the running loop's client. Those of closed loops are forgotten."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._by_loop:
                self._by_loop = {known: client for known, client in self._by_loop.items() if not known.is_closed()}
                self._by_loop[loop] = httpx.AsyncClient(transport=self.async_transport, limits=LIMITS)
            return self._by_loop[loop]


laas_proxy = LaaSProxy()
"""What `custom_handler` names."""
laas = laas_proxy
"""The same, by the provider's name."""

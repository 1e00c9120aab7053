"""What the OpenAPI document promises, tried out: every operation is sent requests made of its schema, good ones and bad ones,
first with a key that owns nothing, then as admin."""

import asyncio
import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import redis as sync_redis
import requests
import schemathesis
from live_server import PATIENCE_S, LiveServer, batch_lines, create_batch, upload
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.specs.openapi import checks

from api_roadbalancer.mock import Behaviour, serve
from balancer.configuration import Configuration
from balancer.endpoint import Endpoint
from producer_api.app import create_app
from workers.messages import celery_wake

EXAMPLES = 10
UNUSED = "redis://unused"
"""Made of each operation's schema, beside the systematic ones."""
GENERATION = GenerationConfig(max_examples=EXAMPLES, deterministic=True, database="none")
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def documented() -> dict[str, Any]:
    """The document, with the catch-all taken away from operations that list their errors: those must list them all."""
    document: dict[str, Any] = create_app(Configuration(), UNUSED, celery_wake(Configuration(), UNUSED)).openapi()
    for path in document["paths"].values():
        for operation in path.values():
            if any(status.startswith("4") for status in operation["responses"]):
                operation["responses"].pop("default", None)
    return document


CONFIG = SchemathesisConfig(seed=1, projects=ProjectsConfig(default=ProjectConfig(generation=GENERATION)))
SCHEMA = schemathesis.openapi.from_dict(documented(), config=CONFIG)


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    """A simulated model server on a thread of its own."""
    with running_model() as url:
        yield url


@contextmanager
def running_model() -> Iterator[str]:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(serve(Behaviour()))
    thread = threading.Thread(target=loop.run_forever, name="model")
    thread.start()
    yield f"http://127.0.0.1:{server.port}/v1"
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(PATIENCE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE_S)
    loop.close()


_NAMES = {"model_id": "m", "custom_id": "c0"}
OWNED = {"job_id", "file_id", "batch_id", "response_id", "key", "name"}
"""Parameters in a path that name what belongs to someone."""
ROOT = "root-key-of-the-schema-tests-0123456789"
ADMIN = {"authorization": f"Bearer {ROOT}"}

BODIES: dict[str, Any] = {
    "POST /api/v1/jobs/{job_id}/retry": {},
    "POST /api/v1/jobs": {"prompts": ["Hello"]},
    "PATCH /api/v1/jobs": {"max_cost": None},
    "PATCH /api/v1/endpoints": {"weight": 2},
    "PATCH /api/v1/keys": {"limits": {"rpm": 5}},
    "POST /api/v1/keys/{key}/rotate": {"overlap": 5},
    "POST /v1/messages/batches": {
        "requests": [
            {"custom_id": "c0", "params": {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}}
        ]
    },
}
"""Bodies that mean something, by how the operation's name begins."""


class Stocked:
    """A server that makes what an operation asks about. `answers` are the statuses of every operation, `session` has the
    connections that the operations are called over."""

    def __init__(self, url: str, http: httpx.Client, session: requests.Session) -> None:
        self.url = url
        self.session = session
        self.answers: defaultdict[str, set[int]] = defaultdict(set)
        self._http = http
        self._turns: Counter[str] = Counter()
        self._numbers = itertools.count()
        made = http.post("/api/v1/keys", json={"name": "limited"}).raise_for_status().json()
        self.limited = {"authorization": f"Bearer {made['secret']}"}
        """Headers with a key that owns nothing."""

    def point_at_something(self, case: schemathesis.Case) -> None:
        """Replace ids by those of things that are there, every other time."""
        label = case.operation.label
        self._turns[label] += 1
        if self._turns[label] % 2 == 0:
            return
        for name in set(case.path_parameters or ()):
            case.path_parameters[name] = self._make(name, label)
        if label.endswith("/results"):
            case.query = {}
        if self._turns[label] % 4 == 1 or label.endswith(("/retry", "/rotate")):
            case.body = self._meant(label, case.body)
        if isinstance(case.body, dict) and "input_file_id" in case.body:
            known = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
            case.body = {**case.body, **{name: value for name, value in known.items() if name in case.body}}
            case.body["input_file_id"] = self._make("file_id", label)

    def _meant(self, label: str, body: Any) -> Any:
        """Return a body that an operation can do something with; of those with many fields hardly any random one means
        something."""
        if label == "POST /api/v1/endpoints":
            return {"url": "http://127.0.0.1:9/v1", "name": f"endpoint-{next(self._numbers)}", "models": ["unused"]}
        return next((meant for begins, meant in BODIES.items() if label.startswith(begins)), body)

    def _make(self, name: str, label: str) -> str:
        if name in _NAMES:
            return _NAMES[name]
        if name == "key":
            made = self._http.post("/api/v1/keys", json={"name": f"key-{next(self._numbers)}"}).raise_for_status().json()
            return str(made["id"])
        if name == "name":
            settings = {"url": "http://127.0.0.1:9/v1", "name": f"endpoint-{next(self._numbers)}", "models": ["unused"]}
            return str(self._http.post("/api/v1/endpoints", json=settings).raise_for_status().json()["name"])
        if name == "response_id":
            made = self._http.post("/v1/responses", json={"model": "m", "input": "Hello"}).raise_for_status().json()
            return str(made["id"])
        identifier: str = upload(self._http, batch_lines(3))["id"]
        if name == "file_id":
            return identifier
        identifier = create_batch(self._http, identifier)["id"]
        if label.endswith(("/events", "/retry", "/{custom_id}")) or "/messages/batches/" in label:
            # The stream of a job that has not ended does not end either, and only lines of one that has are sent again. Message
            # batches are read and deleted when they have ended.
            self._http.post(f"/v1/batches/{identifier}/cancel").raise_for_status()
        return identifier


@pytest.fixture(scope="module")
def stocked(model_url: str, redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stocked]:
    with sync_redis.Redis.from_url(redis_server) as client:
        client.flushall()
    options = {"caller_keys": "accept"}
    configuration = Configuration(
        endpoints=(Endpoint(model_url, "one", models={"m": "m", "*": "*"}, provider="openai", options=options),),
        store=str(tmp_path_factory.mktemp("schema-store")),
        retry_count=0,
        api_keys=(ROOT,),
    )
    server = LiveServer(configuration, redis_server).start()
    try:
        with (
            httpx.Client(base_url=server.url, headers=ADMIN, trust_env=False, timeout=PATIENCE_S) as http,
            requests.Session() as session,
        ):
            session.trust_env = False
            yield Stocked(server.url, http, session)
    finally:
        server.stop()


@SCHEMA.parametrize()
def test_every_operation_keeps_its_promises(case: schemathesis.Case, stocked: Stocked) -> None:
    """To those who may call it; a limited key reaches nothing of others with it."""
    stocked.point_at_something(case)
    calling = {"base_url": stocked.url, "timeout": PATIENCE_S, "session": stocked.session}
    limited = case.call(headers=stocked.limited, **calling)
    assert limited.status_code < 500
    if OWNED & set(case.path_parameters or ()):
        assert limited.status_code >= 400, "what belongs to others is not there for it"
    response = case.call_and_validate(checks=CHECKS, headers=ADMIN, **calling)
    if case.method.upper() == case.operation.method.upper():
        stocked.answers[case.operation.label].add(response.status_code)


def test_every_operation_was_seen_to_work(stocked: Stocked) -> None:
    """Of those that were tried above."""
    failed = [label for label, statuses in stocked.answers.items() if not {200, 201, 204} & statuses]
    assert not failed, "the checks say little of operations that never work"

"""What a holder of a limited key tries: to go elsewhere, to see what is others', to get more than the limits allow."""

import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import orjson

from tests.attack.systems import CAP, System

__all__ = ["KEY_HOLDERS"]

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]
CUT_OFF_WITHIN = 10.0
"""Seconds after which a stream whose key was revoked must have ended."""


class Caller(httpx.Client):
    """A client with a key."""

    def __init__(self, system: System, key: str) -> None:
        super().__init__(base_url=system.api, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30)

    def chat(self, **fields: Any) -> httpx.Response:
        return self.post(CHAT, json={"model": "simulated", "messages": HI, **fields})


def admin_of(system: System) -> Caller:
    return Caller(system, system.key)


@contextmanager
def key_of(system: System, **order: Any) -> Iterator[tuple[Caller, str]]:
    """A caller with a new key, and the key's id; it is revoked in the end."""
    with admin_of(system) as admin:
        made = admin.post("/api/v1/keys", json={"name": secrets.token_hex(6), **order}).raise_for_status().json()
        try:
            with Caller(system, made["secret"]) as caller:
                yield caller, made["id"]
        finally:
            admin.delete(f"/api/v1/keys/{made['id']}")


@contextmanager
def listener() -> Iterator[tuple[str, "socket.socket"]]:
    """A port on loopback that nothing should connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        yield f"127.0.0.1:{server.getsockname()[1]}", server


def was_reached(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except TimeoutError:
        return False
    return True


async def other_destinations(system: System) -> list[str]:
    """Fields that choose an address, a provider or a price; media and webhooks in the private network."""
    found = []
    with key_of(system, models=["simulated"]) as (caller, _), listener() as (address, server):
        elsewhere = {"api_base": f"http://{address}", "base_url": f"http://{address}", "fallbacks": ["slow"], "provider": "x"}
        if (code := caller.chat(**elsewhere, extra_body={"api_base": f"http://{address}"}).status_code) != 200:
            found.append(f"fields to leave out are answered {code}")
        for link in (
            f"http://{address}/x",
            "https://169.254.169.254/",
            "https://localhost/",
            "file:///etc/passwd",
            "https://2130706433/",
        ):
            content = [{"type": "image_url", "image_url": {"url": link}}]
            if (code := caller.chat(messages=[{"role": "user", "content": content}]).status_code) != 400:
                found.append(f"an image at {link} is answered {code}")
        webhook = {"url": f"https://{address}/", "secret": "whsec_" + "YWJj" * 8}
        job = {"prompts": ["x"], "model": "simulated", "webhook": webhook}
        if (code := caller.post("/api/v1/jobs", json=job).status_code) != 400:
            found.append(f"a webhook at {address} is answered {code}")
        if was_reached(server):
            found.append("something was sent to the address")
    return found


async def what_belongs_to_others(system: System) -> list[str]:
    """Files, jobs and results of another key, and what only admins may do."""
    line = {"custom_id": "a", "method": "POST", "url": CHAT, "body": {"model": "simulated", "messages": HI}}
    with key_of(system) as (owner, _), key_of(system) as (other, other_id):
        upload = {"file": ("in.jsonl", orjson.dumps(line) + b"\n")}
        file = owner.post("/v1/files", data={"purpose": "batch"}, files=upload).raise_for_status().json()["id"]
        body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
        job = owner.post("/v1/batches", json=body).raise_for_status().json()["id"]
        foreign = [
            *(("GET", f"/v1/files/{file}{rest}") for rest in ("", "/content")),
            ("DELETE", f"/v1/files/{file}"),
            *(("GET", f"/v1/batches/{job}{rest}") for rest in ("",)),
            ("POST", f"/v1/batches/{job}/cancel"),
            *(("GET", f"/api/v1/jobs/{job}{rest}") for rest in ("", "/results", "/events", "/why", "/results/a")),
            ("POST", f"/api/v1/jobs/{job}/cancel"),
            ("PATCH", f"/api/v1/jobs/{job}"),
        ]
        found = _not(404, other, foreign)
        if (code := other.post("/v1/batches", json=body).status_code) not in (400, 404):
            found.append(f"a batch of another key's file is answered {code}")
        admins = [("GET", "/api/v1/keys"), ("POST", "/api/v1/keys"), ("DELETE", f"/api/v1/keys/{other_id}")]
        found += _not(403, other, [*admins, ("POST", "/api/v1/endpoints")])
        for listed in ("/v1/files", "/v1/batches", "/api/v1/jobs"):
            if other.get(listed).json()["data"]:
                found.append(f"{listed} lists what is another key's")
    return found


def _not(expected: int, caller: Caller, requests: list[tuple[str, str]]) -> list[str]:
    found = []
    for method, path in requests:
        code = caller.request(method, path, json={} if method in ("POST", "PATCH") else None).status_code
        if code != expected:
            found.append(f"{method} {path} answers {code}")
    return found


async def more_than_allowed(system: System) -> list[str]:
    """Numbers that pass a cap by their form, models beside the pattern, files beyond the quota."""
    found = []
    with key_of(system, models=["simul*"], limits={"files": 1, "priority": 0}) as (caller, _):
        for value in (5000.0, "5000", 10**20, -1, 0, 1.5, True, [5000]):
            for name in ("max_tokens", "max_completion_tokens"):
                answer = caller.chat(**{name: value})
                said = answer.json().get("usage", {}).get("completion_tokens", 0) if answer.status_code == 200 else 0
                if answer.status_code not in (200, 400) or said > CAP:
                    found.append(f"{name}={value!r} answers {answer.status_code} with {said} tokens")
        if (code := caller.chat(n=10_000).status_code) != 400:
            found.append(f"n=10000 is answered {code}")
        for model in ("slow", "slow,simulated", "SIMULATED/../slow"):
            if (code := caller.chat(model=model).status_code) not in (403, 404):
                found.append(f"the model {model} is answered {code}")
        if (
            code := caller.post("/api/v1/jobs", json={"prompts": ["x"], "model": "simulated", "priority": 100}).status_code
        ) != 403:
            found.append(f"a priority beyond the key's is answered {code}")
        codes = [
            caller.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("x", b"x")}).status_code for _ in range(3)
        ]
        if codes[0] != 200 or any(code < 400 for code in codes[1:]):
            found.append(f"three files of a key that may have one are answered {codes}")
    return found


async def faster_than_allowed(system: System) -> list[str]:
    """Chats, and requests of every kind, beyond a key's rates."""
    found = []
    with key_of(system, limits={"rpm": 3}) as (caller, _):
        codes = [caller.chat().status_code for _ in range(6)]
        if codes.count(200) > 3 or 429 not in codes:
            found.append(f"six requests of a key that may send three a minute are answered {codes}")
    with key_of(system, limits={"http_rpm": 4}) as (caller, _):
        codes = [caller.get("/api/v1/jobs").status_code for _ in range(6)]
        codes.append(caller.get("/nowhere").status_code)
        if codes.count(200) > 4 or codes[-1] != 429:
            found.append(f"seven reads of a key that may send four requests a minute are answered {codes}")
    return found


async def streams_of_a_revoked_key(system: System) -> list[str]:
    """A stream ends when its key is revoked."""
    with key_of(system) as (caller, key_id), admin_of(system) as admin:
        body = {"model": "simulated", "messages": [{"role": "user", "content": "x " * 2000}], "stream": True}
        job = caller.post("/api/v1/jobs", json={"prompts": ["x"] * 3000, "model": "simulated"}).raise_for_status().json()["id"]
        with caller.stream("GET", f"/api/v1/jobs/{job}/events") as events:
            lines = events.iter_lines()
            next(lines)
            admin.delete(f"/api/v1/keys/{key_id}").raise_for_status()
            began = time.monotonic()
            ended = False
            try:
                for _ in lines:
                    if time.monotonic() - began > CUT_OFF_WITHIN:
                        break
                else:
                    ended = True
            except httpx.HTTPError:
                ended = True
        found = [] if ended else [f"the events of a job go on {CUT_OFF_WITHIN:g} s after their key was revoked"]
        admin.post(f"/api/v1/jobs/{job}/cancel")
        if (code := caller.post(CHAT, json=body).status_code) != 401:
            found.append(f"a request with the revoked key is answered {code}")
    return found


async def addresses_in_errors(system: System) -> list[str]:
    """What an endpoint's failure tells a caller."""
    hidden = "127.0.0.1:9"
    with admin_of(system) as admin, key_of(system) as (caller, _):
        endpoint = {"name": "gone", "url": f"http://user:hidden@{hidden}/v1", "models": ["gone"]}
        admin.post("/api/v1/endpoints", json=endpoint).raise_for_status()
        try:
            texts: Mapping[str, str] = {
                "a chat": caller.chat(model="gone").text,
                "a stream": caller.chat(model="gone", stream=True).text,
                "a message": caller.post("/v1/messages", json={"model": "gone", "max_tokens": 5, "messages": HI}).text,
                "the endpoints": caller.get("/api/v1/endpoints").text,
            }
        finally:
            admin.delete("/api/v1/endpoints/gone")
    return [f"{what} says {text[:200]}" for what, text in texts.items() if hidden in text or "hidden" in text]


KEY_HOLDERS = (
    other_destinations,
    what_belongs_to_others,
    more_than_allowed,
    faster_than_allowed,
    streams_of_a_revoked_key,
    addresses_in_errors,
)

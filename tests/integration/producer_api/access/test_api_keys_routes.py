"""API keys made, changed, rotated and revoked over HTTP."""

from collections.abc import Iterator

import httpx
import pytest
from live_server import PATIENCE_S, StartServer, error_of

from tests.waiting import until

ROOT = "root-key-of-this-server-0123456789"


@pytest.fixture
def admin(start: StartServer) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {ROOT}"}
    with httpx.Client(base_url=start(api_keys=(ROOT,)).url, headers=headers, trust_env=False, timeout=PATIENCE_S) as client:
        yield client


def status_with(client: httpx.Client, secret: str) -> int:
    return client.get("/v1/models", headers={"authorization": f"Bearer {secret}"}).status_code


def test_a_key_is_made_changed_and_revoked(admin: httpx.Client) -> None:
    made = admin.post("/api/v1/keys", json={"name": "alice", "models": ["m"], "limits": {"rpm": 5}}).json()
    assert status_with(admin, made["secret"]) == 200
    (listed,) = admin.get("/api/v1/keys").json()["data"]
    assert (listed["name"], listed["limits"]["rpm"], listed["revoked"]) == ("alice", 5, False)
    assert made["secret"] not in admin.get("/api/v1/keys").text
    changed = admin.patch("/api/v1/keys/alice", json={"limits": {"budget_day": 2.5}, "models": []}).json()
    assert (changed["limits"]["rpm"], changed["limits"]["budget_day"], changed["models"]) == (None, 2.5, [])
    assert admin.delete(f"/api/v1/keys/{made['id']}").status_code == 204
    assert admin.delete(f"/api/v1/keys/{made['id']}").status_code == 404


async def test_a_rotated_key_has_two_secrets_for_a_while(admin: httpx.Client) -> None:
    made = admin.post("/api/v1/keys", json={"name": "bob"}).json()
    rotated = admin.post("/api/v1/keys/bob/rotate", json={"overlap": 600}).json()
    assert rotated["id"] == made["id"]
    assert rotated["secret"] != made["secret"]
    assert [status_with(admin, each["secret"]) for each in (made, rotated)] == [200, 200]
    assert [key["name"] for key in admin.get("/api/v1/keys").json()["data"]] == ["bob"]
    assert admin.delete("/api/v1/keys/bob").status_code == 204
    await until(lambda: [status_with(admin, each["secret"]) for each in (made, rotated)] == [401, 401], 5, "both to be refused")


async def test_without_overlap_the_old_secret_ends(admin: httpx.Client) -> None:
    made = admin.post("/api/v1/keys", json={"name": "carol"}).json()
    rotated = admin.post("/api/v1/keys/carol/rotate", json={"overlap": 0}).json()
    await until(lambda: status_with(admin, made["secret"]) == 401, 5, "the old secret to be refused")
    assert status_with(admin, rotated["secret"]) == 200


def test_keys_are_for_admins(admin: httpx.Client) -> None:
    secret = admin.post("/api/v1/keys", json={"name": "dave"}).json()["secret"]
    refused = admin.get("/api/v1/keys", headers={"authorization": f"Bearer {secret}"})
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"name": ""}, 422, "name"),
        ({"name": " x "}, 400, "name"),
        ({"name": "x", "limits": {"rpm": 0}}, 422, "limits.rpm"),
        ({"name": "x", "limitz": {}}, 422, "limitz"),
    ],
)
def test_what_is_no_key_is_refused(admin: httpx.Client, body: dict[str, object], status: int, param: str) -> None:
    refused = admin.post("/api/v1/keys", json=body)
    assert (refused.status_code, error_of(refused)["param"]) == (status, param)


def test_a_name_is_taken_once(admin: httpx.Client) -> None:
    assert admin.post("/api/v1/keys", json={"name": "erin"}).status_code == 201
    assert error_of(admin.post("/api/v1/keys", json={"name": "erin"}))["param"] == "name"
    assert admin.patch("/api/v1/keys/nobody", json={"models": []}).status_code == 404
    assert admin.post("/api/v1/keys/nobody/rotate", json={}).status_code == 404

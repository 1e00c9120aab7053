"""The Helm chart: it lints, and makes what Kubernetes takes, whatever is switched on. `make check-helm` runs this."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/roadbalancer"
PLAIN = ROOT / "deploy/kubernetes/roadbalancer.yaml"
HELM = shutil.which("helm", path=str(Path(sys.executable).parent)) or "helm"
VERSIONS = ("1.25", "1.31", "1.37")
OWN_KINDS = {"ScaledObject", "ServiceMonitor"}
"""Kinds of KEDA and of the Prometheus operator, whose schemas are not Kubernetes's."""
KEYS = {"api.keys.secret": "roadbalancer"}
OWN_REDIS = {"redis.enabled": "false", "redis.url.secret": "roadbalancer", "redis.url.key": "redis-url"}
PLAIN_VALUES = {**KEYS, **OWN_REDIS, "flower.login.secret": "roadbalancer"}
ALL = {
    **KEYS,
    "flower.login.secret": "roadbalancer",
    "worker.scaling.kind": "keda",
    "serviceMonitor.enabled": "true",
    "serviceMonitor.key.secret": "roadbalancer",
    "api.ingress.enabled": "true",
    "api.ingress.className": "nginx",
    "store.existingClaim": "files",
    "image.digest": "sha256:" + 64 * "0",
    "secretEnv[0].name": "OPENAI_API_KEY",
    "secretEnv[0].secret": "providers",
    "secretEnv[0].key": "openai",
    "env[0].name": "AWS_REGION",
    "env[0].value": "eu-central-1",
    "redis.storageClass": "fast",
    "nodeSelector.pool": "cpu",
    "networkPolicy.from[0].namespaceSelector.matchLabels.name": "apps",
}


def helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)


def render(values: dict[str, str]) -> str:
    options = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    made = helm("template", "roadbalancer", str(CHART), "--namespace", "llm", *options)
    assert made.returncode == 0, made.stderr
    return made.stdout


def objects(values: dict[str, str]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(found["kind"], found["metadata"]["name"]): found for found in yaml.safe_load_all(render(values)) if found}


def test_it_lints() -> None:
    linted = helm("lint", "--strict", str(CHART), "--set", "api.keys.secret=x")
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", [KEYS, ALL, PLAIN_VALUES], ids=["defaults", "all", "plain"])
def test_kubernetes_takes_what_it_makes(values: dict[str, str], version: str) -> None:
    made = objects(values)
    assert len(made) >= 8
    for (kind, _), found in made.items():
        if kind not in OWN_KINDS:
            kubernetes_validate.validate(found, version, strict=True)


def test_without_a_secret_for_the_keys_it_says_so() -> None:
    made = helm("template", "roadbalancer", str(CHART))
    assert made.returncode != 0
    assert "api.keys.secret" in made.stderr


def test_every_pod_is_confined() -> None:
    pods = [
        found["spec"]["template"]["spec"] for (kind, _), found in objects(ALL).items() if kind in ("Deployment", "StatefulSet")
    ]
    assert len(pods) == 4
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]


def test_secrets_are_referred_to_and_the_password_of_redis_is_its_own() -> None:
    first, second = (objects(KEYS)[("Secret", "roadbalancer-redis")]["stringData"] for _ in range(2))
    assert first["password"] != second["password"] and len(first["password"]) == 40
    assert first["password"] in first["url"] and first["password"] not in first["users.acl"]
    assert hashlib.sha256(first["password"].encode()).hexdigest() in first["users.acl"]
    compose = (ROOT / "deploy/compose/redis_access.py").read_text()
    rights = first["users.acl"].splitlines()[1].partition(" resetkeys")[2]
    assert rights in compose, "the same rights as in docker-compose.yml"
    for (kind, _), found in objects(ALL).items():
        assert kind == "Secret" or first["password"] not in json.dumps(found)


def test_every_selector_finds_its_pods() -> None:
    made = objects(ALL)
    pods = [f["spec"]["template"]["metadata"]["labels"] for (kind, _), f in made.items() if kind in ("Deployment", "StatefulSet")]
    for (kind, name), found in made.items():
        spec = found.get("spec", {})
        wanted = {"Service": spec.get("selector"), "PodDisruptionBudget": spec.get("selector", {}).get("matchLabels")}.get(kind)
        if wanted is not None:
            assert sum(wanted.items() <= labels.items() for labels in pods) == 1, (kind, name)


def test_the_plain_manifests_are_what_the_chart_makes() -> None:
    """`python tests/helm/test_chart.py` writes them again."""
    assert PLAIN.read_text() == render(PLAIN_VALUES), "run tests/helm/test_chart.py"


if __name__ == "__main__":
    PLAIN.write_text(render(PLAIN_VALUES))

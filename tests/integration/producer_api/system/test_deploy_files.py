"""The files in `deploy/` name what there is: series of /metrics, and commands with their options."""

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from api_roadbalancer.cli.command_group import CommandGroup

DEPLOY = Path(__file__).parents[4] / "deploy"
SERIES = re.compile(r"roadbalancer_[a-z_]+")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def expressions(file: str) -> list[str]:
    """Return all expressions of a file of rules, or of a dashboard."""
    content = yaml.safe_load((DEPLOY / "monitoring" / file).read_text())
    if "groups" in content:
        return [rule["expr"] for group in content["groups"] for rule in group["rules"]]
    return [target["expr"] for panel in content["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("file", ["alerts.yaml", "grafana-dashboard.json"])
def test_each_series_is_one_of_metrics(http: httpx.Client, file: str) -> None:
    families = text_string_to_metric_families(http.get("/metrics").text)
    known = {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}
    named = {name for expression in expressions(file) for name in SERIES.findall(expression)}
    assert len(named) >= 4
    assert named - known == set()


def test_the_dashboard_is_json_with_panels_that_do_not_overlap() -> None:
    panels = json.loads((DEPLOY / "monitoring/grafana-dashboard.json").read_text())["panels"]
    places: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places and at["x"] + at["w"] <= 24, panel["title"]
        places |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("unit", sorted(path.name for path in (DEPLOY / "systemd").glob("*.service")))
def test_each_unit_starts_a_command_that_there_is(unit: str) -> None:
    read = configparser.ConfigParser(interpolation=None, strict=False)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read(DEPLOY / "systemd" / unit)
    program, name, *options = shlex.split(read["Service"]["ExecStart"])
    assert program.endswith("/roadbalancer")
    group: Any = CommandGroup(name="roadbalancer")
    command = group.get_command(None, name)
    known = {option for param in command.params for option in param.opts}
    assert {option for option in options if option.startswith("--")} <= known


def test_the_pinned_images_are_those_that_the_tags_name() -> None:
    lines = (DEPLOY / "images.env").read_text().splitlines()
    pinned = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert set(pinned) == {"PYTHON_IMAGE", "REDIS_IMAGE"}
    compose = (DEPLOY.parent / "docker-compose.yml").read_text()
    for name, image in pinned.items():
        tag, digest = image.split("@")
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
        assert f"${{{name}:-{tag}}}" in compose
    assert f"ARG BASE={pinned['PYTHON_IMAGE'].split('@')[0]}\n" in (DEPLOY.parent / "Dockerfile").read_text()
    assert yaml.safe_load((DEPLOY / "helm/roadbalancer/values.yaml").read_text())["redis"]["image"] == pinned["REDIS_IMAGE"]

"""The example of a provider of one's own works as its package says: by its entry point, in a program that knows nothing of it."""

import importlib.util
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "examples" / "custom_provider"
VARIABLES = ("LLM_", "ROADBALANCER_", "OPENAI_", "PYTHONPATH")


@pytest.fixture
def parrot() -> Iterator[str]:
    """The address of a server that speaks Parrot."""
    spec = importlib.util.spec_from_file_location("parrot_server", FOLDER / "parrot_server.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.serve() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that holds what installing the package puts there: its module, and its entry points as metadata."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"] == ["roadbalancer_parrot.py"]
    name, version = project["project"]["name"], project["project"]["version"]
    target = tmp_path / "site"
    info = target / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = project["project"]["entry-points"]
    lines = [line for group, points in groups.items() for line in (f"[{group}]", *(f"{n} = {v}" for n, v in points.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (target / "roadbalancer_parrot.py").write_text((FOLDER / "roadbalancer_parrot.py").read_text())
    return target


@pytest.fixture
def fleet(parrot: str, tmp_path: Path) -> dict[str, Any]:
    """The example's configuration, at the server's address."""
    fleet: dict[str, Any] = yaml.safe_load((FOLDER / "fleet.yaml").read_text())
    fleet["endpoints"][0]["url"] = parrot
    return fleet


def ask(fleet: dict[str, Any], folder: Path, question: str, site: Path | None) -> subprocess.CompletedProcess[str]:
    config = folder / "fleet.yaml"
    config.write_text(yaml.safe_dump(fleet))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)}
    # -P: the adapter that lies beside the program is not to be found, only the one that is installed.
    command = [sys.executable, "-P", "-W", "error", str(FOLDER / "ask.py"), str(config), question]
    path = {"PYTHONPATH": str(site)} if site else {}
    return subprocess.run(command, env=inherited | path, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_the_installed_package_answers_and_streams(fleet: Any, tmp_path: Path, installed: Path) -> None:
    ended = ask(fleet, tmp_path, "Hello there", installed)

    assert (ended.returncode, ended.stderr) == (0, "")
    whole, pieces = ended.stdout.splitlines()
    assert whole == "grey, piratical: Hello there!"
    assert pieces == "['grey,', ' piratical: Hello there!']"


@pytest.mark.parametrize(
    ("question", "changes", "said"),
    [
        ("too much", {}, "rate_limit_exceeded"),  # a failure that the adapter reads
        ("Hello", {"api_key": "wrong"}, "authentication_error"),
        ("Hello", {"options": {"acent": "x"}}, "endpoints[0].options.acent: unknown option; parrot has accent"),
        ("Hello", {"temperature": 0.5}, "Parrot can't do this; set `drop_params: true`"),
    ],
)
def test_failures_are_reported(question: str, changes: Any, said: str, fleet: Any, tmp_path: Path, installed: Path) -> None:
    fleet["endpoints"][0] |= changes
    fleet["retry_count"] = 0

    ended = ask(fleet, tmp_path, question, installed)

    assert ended.returncode == 1
    assert said in ended.stdout + ended.stderr


def test_a_host_of_the_package_needs_no_provider(tmp_path: Path, installed: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("endpoints: [{url: 'https://api.parrot.example'}]")
    program = "from balancer.configuration import load_configuration as load; print(load('fleet.yaml').endpoints[0].provider)"
    env = {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)} | {"PYTHONPATH": str(installed)}
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)

    assert ended.stdout == "parrot\n"


def test_without_the_package_the_provider_is_unknown(fleet: Any, tmp_path: Path) -> None:
    ended = ask(fleet, tmp_path, "Hello", None)

    assert ended.returncode == 1
    assert "endpoints[0].provider: must be one of openai, vllm, anthropic" in ended.stderr
    assert "(got 'parrot')" in ended.stderr


def test_an_adapter_that_cannot_be_loaded_is_named_and_the_others_work(fleet: Any, tmp_path: Path, installed: Path) -> None:
    (installed / "roadbalancer_parrot.py").write_text("import a_module_that_is_not_there")

    ended = ask(fleet, tmp_path, "Hello", installed)

    assert ended.returncode == 1
    assert "parrot = roadbalancer_parrot:ParrotAdapter of roadbalancer-parrot" in ended.stderr
    assert "No module named 'a_module_that_is_not_there'" in ended.stderr
    assert "endpoints[0].provider" in ended.stderr  # an error, since it is used

    fleet["endpoints"][0] |= {"provider": "openai", "options": {}}
    unused = ask(fleet, tmp_path, "Hello", installed)
    assert "ConfigurationError" not in unused.stderr and "HTTP 401" in unused.stdout  # the parrot does not speak OpenAI's

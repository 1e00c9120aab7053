"""What the pages show of configuration files can be used."""

import re
from pathlib import Path

import pytest

from balancer.configuration import load_configuration

DOCS = Path(__file__).parents[4] / "docs"
EXAMPLE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"\$\{(\w+)\}|os\.environ/(\w+)")
EXAMPLES = [(page, text) for page in ("configuration.md", "providers.md") for text in EXAMPLE.findall((DOCS / page).read_text())]


@pytest.mark.parametrize(("page", "text"), EXAMPLES)
def test_every_example_of_a_file_loads(page: str, text: str, tmp_path: Path) -> None:
    config = tmp_path / page
    config.write_text(text)
    variables = {name: "value" for names in VARIABLE.findall(text) for name in names if name}
    loaded = load_configuration(config, variables)
    assert loaded.endpoints and not loaded.notes


def test_both_pages_have_examples() -> None:
    assert {page for page, _ in EXAMPLES} == {"configuration.md", "providers.md"}


@pytest.mark.parametrize("page", ["configuration.md", "providers.md"])
def test_every_file_and_heading_that_the_page_points_to_is_there(page: str) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", (DOCS / page).read_text())
    assert targets
    for target in targets:
        file, _, heading = target.partition("#")
        assert (DOCS / file if file else DOCS / page).exists(), target
        if heading:
            text = (DOCS / (file or page)).read_text()
            headings = [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)$", text, re.M)]
            assert heading in headings, target

"""The pages on moving from other systems: their configurations can be read, and what they link to is there.

`make test-clients` runs their programs.
"""

import logging
import re
from pathlib import Path

import pytest

from balancer.configuration import load_configuration

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("moving_from_*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]+))?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_configuration_that_a_page_ends_with_has_nothing_that_is_left_out(
    page: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    *_, (_, config) = [block for block in BLOCK.findall(page.read_text()) if block[0] == "yaml"]
    (tmp_path / "fleet.yaml").write_text(config)
    with caplog.at_level(logging.WARNING):
        configuration = load_configuration(tmp_path / "fleet.yaml", {})
    assert configuration.endpoints[0].url == "http://gpu1:8000/v1"
    assert caplog.messages == []


def test_what_is_left_out_of_a_litellm_file_is_reported_as_the_page_shows(tmp_path: Path) -> None:
    page = (DOCS / "moving_from_litellm_proxy.md").read_text()
    (tmp_path / "config.yaml").write_text(next(block for label, block in BLOCK.findall(page) if label == "yaml"))
    notes = load_configuration(tmp_path / "config.yaml", {}).notes
    shown = re.findall(r"^    warning: (.*?)(?:; …)?$", page, re.MULTILINE)
    assert len(notes) == len(shown) == 2
    assert all(note.startswith(words) for note, words in zip(notes, shown, strict=True))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_place_that_a_page_links_to_is_there(page: Path) -> None:
    links = LINK.findall(BLOCK.sub("", page.read_text()))
    assert links
    assert [link for link in links if not _is_there(page, *link)] == []


def _is_there(page: Path, target: str, place: str) -> bool:
    path = page.parent / target if target else page
    return path.exists() and (not place or place in map(_anchor, re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)))


def _anchor(heading: str) -> str:
    """Return a heading's place as GitHub names it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")

"""Pages in Korean say what those in English say: the same sections, code, tables, lists and links."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README", "docs/moving_from_openai_batch", "docs/moving_from_litellm_proxy"]
"""Those in both languages, without `.md` and `.ko.md`."""
TOP = 5
"""Lines at a page's top, within which it links to the other one."""


@dataclass(frozen=True)
class Shape:
    """What has to be the same in every language."""

    headings: list[int]
    """Their levels."""
    code: list[str]
    """Fenced blocks, then indented ones."""
    tables: list[int]
    """Their numbers of rows."""
    items: int
    """Entries of lists."""
    links: list[str]
    """Targets within the project, sorted; a place within a page is named after its heading, so it counts as the page."""


def shape_of(text: str) -> Shape:
    """Take a page's shape."""
    fence = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
    prose = fence.sub("", text)
    return Shape(
        headings=[len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)],
        code=fence.findall(text) + re.findall(r"(?:^ {4}.*\n)+", prose, re.MULTILINE),
        tables=[table.count("\n") for table in re.findall(r"(?:^\|.*\n)+", prose, re.MULTILINE)],
        items=len(re.findall(r"^(?:- |\d+\. )", prose, re.MULTILINE)),
        links=sorted(_page(target) for target in re.findall(r"\]\(([^):]+)\)", prose)),
    )


def _page(target: str) -> str:
    """Take away the place within a page, and its language."""
    return target.partition("#")[0].replace(".ko.md", ".md")


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [f"{name}{suffix}" for name in PAGES for suffix in (".md", ".ko.md")])
def test_every_link_leads_to_a_file(page: str) -> None:
    for target in re.findall(r"\]\(([^):#]+)[^)]*\)", read(page)):
        assert (ROOT / page).parent.joinpath(target).is_file(), target


@pytest.mark.parametrize("part", ["headings", "code", "tables", "items", "links"])
@pytest.mark.parametrize("page", PAGES)
def test_both_languages_have_the_same(page: str, part: str) -> None:
    english, korean = shape_of(read(f"{page}.md")), shape_of(read(f"{page}.ko.md"))
    assert english.headings and english.code and english.tables and english.links, "the page was not read rightly"
    assert getattr(korean, part) == getattr(english, part)


@pytest.mark.parametrize("page", PAGES)
def test_each_language_links_to_the_other_at_its_top(page: str) -> None:
    for here, other in ((".md", ".ko.md"), (".ko.md", ".md")):
        top = read(page + here).splitlines()[:TOP]
        assert any(f"]({Path(page + other).name})" in line for line in top)


# What a page that is out of step would have, and what has to be noticed of it.
CHANGES = [
    ("## Two", "### Two", "headings"),  # a section on another level
    ("make run", "make go", "code"),  # a command in an indented block
    ("limit = 1", "limit = 2", "code"),  # a line of a fenced block
    ("| b | 2 |\n", "", "tables"),  # a row is missing
    ("- second\n", "", "items"),  # an entry is missing
    ("docs/a.md#x", "docs/b.md#x", "links"),  # another page
]
PAGE = """\
# One

## Two

    make run

```python
limit = 1
```

| name | value |
|---|---|
| a | 1 |
| b | 2 |

- first, see [there](docs/a.md#x)
- second
"""


@pytest.mark.parametrize(("old", "new", "part"), CHANGES)
def test_what_is_out_of_step_is_noticed(old: str, new: str, part: str) -> None:
    assert old in PAGE
    assert getattr(shape_of(PAGE), part) != getattr(shape_of(PAGE.replace(old, new)), part)

"""Makes requests of rows, by templates over their columns."""

import asyncio
import base64
import hashlib
import mimetypes
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any

import orjson

from api_roadbalancer.tables.arrow import ArrowRows
from api_roadbalancer.tables.table import Row, Table
from jobs.errors import InvalidRequest
from jobs.intake.lines import CHAT_PATH, EMBEDDINGS_PATH

__all__ = ["RowRequests", "text_of"]

LARGEST_IMAGE = 5 * 1024 * 1024
"""Bytes of an image file: a request may have 8 MB, and base64 adds a third."""


@dataclass(frozen=True, slots=True)
class RowRequests:
    """One request for each row of a table: a chat, or with `embed` one for an embedding.

    `prompt`, `system` and `embed` are templates with a column's name in braces; instead of a prompt, `messages_column` may name
    the column with the messages (a list, or JSON). `image_column` names one with an image's path or URL. `fields` go into each
    request as they are. Raises InvalidRequest for what can't be filled.
    """

    table: Table
    prompt: str | None = None
    system: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    messages_column: str | None = None
    image_column: str | None = None
    embed: str | None = None

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.prompt, self.messages_column, self.embed)) != 1:
            raise InvalidRequest("rows need either a prompt or a column of messages: --prompt, --messages-column, or --embed")
        if self.embed is not None and self.system is not None:
            raise InvalidRequest("--system goes with --prompt; an embedding has the text of --embed alone")
        if self.image_column is not None and self.prompt is None:
            raise InvalidRequest("--image-column goes with --prompt; messages have their images in them")
        for option, name in self._named_columns():
            if name not in self.table.columns:
                there = ", ".join(self.table.columns)
                raise InvalidRequest(f"{option} names {{{name}}}, which is no column of {self.table.name}; there are: {there}")

    def _named_columns(self) -> Iterator[tuple[str, str]]:
        for option, template in (("--prompt", self.prompt), ("--system", self.system), ("--embed", self.embed)):
            if template is not None:
                yield from ((option, name) for name in _columns_of(template, option))
        for option, column in (("--messages-column", self.messages_column), ("--image-column", self.image_column)):
            if column is not None:
                yield option, column

    def words(self) -> list[str]:
        """Return the words of the command line that say the same."""
        options = {
            "--prompt": self.prompt,
            "--system": self.system,
            "--embed": self.embed,
            "--messages-column": self.messages_column,
            "--image-column": self.image_column,
        }
        fields = [f"{name}={orjson.dumps(value).decode()}" for name, value in self.fields.items()]
        words = [word for option, value in options.items() if value is not None for word in (option, value)]
        return words + [word for each in fields for word in ("--field", each)]

    def digest(self) -> str:
        """Return a digest of the requests (BLAKE2b, 32 hexadecimal digits): of the rows, and of what is made of them."""
        made = [self.prompt, self.system, self.fields, self.messages_column, self.image_column]
        made += [] if self.embed is None else [self.embed]
        content = [self.table.digest(), *made]
        return hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the requests as batch lines, some hundreds of rows at a time. Memory: these."""
        groups = self._lines()
        while (lines := await asyncio.to_thread(next, groups, None)) is not None:
            yield lines

    def _lines(self) -> Iterator[bytes]:
        if self.prompt is not None and self.image_column is None:
            yield from self._prompt_lines(self.prompt)
            return
        if self.embed is not None:
            yield from self._embedding_lines(Template(self.embed))
            return
        prompt = Template(self.prompt) if self.prompt is not None else None
        system = Template(self.system) if self.system is not None else None
        number = 0
        for rows in self.table.groups({name for _, name in self._named_columns()}):
            lines = []
            for row in rows:
                number += 1
                messages = [] if system is None else [{"role": "system", "content": self._filled(system, row, number)}]
                messages += self._messages(row, number) if prompt is None else [self._user_message(prompt, row, number)]
                body = {**self.fields, "messages": messages}
                lines.append(orjson.dumps({"custom_id": f"row-{number}", "method": "POST", "url": CHAT_PATH, "body": body}))
            lines.append(b"")
            yield b"\n".join(lines)

    def _prompt_lines(self, prompt: str) -> Iterator[bytes]:
        """Yield the lines of requests that differ in their texts only: what they have in common is written once."""
        templates = [Template(text) for text in (self.system, prompt) if text is not None]
        roles = ("user",) if self.system is None else ("system", "user")
        messages = ",".join(f'{{"role":"{role}","content":"%b"}}' for role in roles)
        fields = orjson.dumps(self.fields)[1:-1].replace(b"%", b"%%")
        body = b'%b%b"messages":[%b]' % (fields, b"," if fields else b"", messages.encode())
        line = b'{"custom_id":"row-%%d","method":"POST","url":"%b","body":{%b}}\n' % (CHAT_PATH.encode(), body)
        number = 1
        for rows in self.table.groups({name for template in templates for name in template.columns}):
            texts = [_encoded(self._texts(template, rows, number)) for template in templates]
            numbers = range(number, number + len(rows))
            yield b"".join([line % values for values in zip(numbers, *texts, strict=True)])
            number += len(rows)

    def _embedding_lines(self, template: "Template") -> Iterator[bytes]:
        number = 1
        for rows in self.table.groups(set(template.columns)):
            texts = self._texts(template, rows, number)
            lines = [
                orjson.dumps(
                    {"custom_id": f"row-{n}", "method": "POST", "url": EMBEDDINGS_PATH, "body": {**self.fields, "input": text}}
                )
                for n, text in enumerate(texts, number)
            ]
            yield b"\n".join([*lines, b""])
            number += len(rows)

    def _texts(self, template: "Template", rows: Sequence[Row], first: int) -> Sequence[str]:
        if not template.columns:
            return [template.filled()] * len(rows)
        if isinstance(rows, ArrowRows):
            return list(map(template.filled, *(rows.values(name) for name in template.columns)))
        return [self._filled(template, row, number) for number, row in enumerate(rows, first)]

    def _user_message(self, prompt: "Template", row: Row, number: int) -> dict[str, Any]:
        text = self._filled(prompt, row, number)
        image = row.get(self.image_column) if self.image_column is not None else None
        if not image:
            return {"role": "user", "content": text}
        url = {"url": self._image_url(str(image), number)}
        return {"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": url}]}

    def _image_url(self, image: str, number: int) -> str:
        if image.startswith(("http://", "https://", "data:")):
            return image
        try:
            content = Path(image).read_bytes()
        except (OSError, ValueError) as exc:
            raise InvalidRequest(f"{self.table.name}: row {number}: the image {image} can't be read ({exc})") from exc
        if len(content) > LARGEST_IMAGE:
            limit = f"{LARGEST_IMAGE // 2**20} MB"
            raise InvalidRequest(f"{self.table.name}: row {number}: the image {image} is larger than {limit}; give its URL")
        kind = mimetypes.guess_type(image)[0] or "image/png"
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"

    def _messages(self, row: Row, number: int) -> list[Any]:
        value = row.get(self.messages_column or "")
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                value = None
        if not isinstance(value, list):
            raise InvalidRequest(f"{self.table.name}: row {number}: {self.messages_column!r} holds no list of messages")
        return value

    def _filled(self, template: "Template", row: Row, number: int) -> str:
        try:
            return template.filled(*[row[name] for name in template.columns])
        except KeyError as exc:
            raise InvalidRequest(f"{self.table.name}: row {number} has no {exc.args[0]!r}, which the prompt names") from exc


def _encoded(texts: Sequence[str]) -> list[bytes]:
    """Return texts as they stand in JSON, without the quotes around them. Written together, which costs a fraction of each by
    itself; within a text a quote has a backslash before it, so that what parts two of them is in none."""
    return orjson.dumps(texts)[2:-2].split(b'","')


class Template:
    """A text with columns in it: `filled` takes the values of `columns`, in their order."""

    def __init__(self, text: str) -> None:
        parts = [(before, name) for before, name, _, _ in Formatter().parse(text)]
        self.columns = tuple(name for _, name in parts if name is not None)
        escaped = ((before.replace("{", "{{").replace("}", "}}"), name) for before, name in parts)
        self._form = "".join(before + ("{}" if name is not None else "") for before, name in escaped).format

    def filled(self, *values: Any) -> str:
        """Return the text."""
        return self._form(*[value if type(value) is str else text_of(value) for value in values])


def _columns_of(template: str, option: str) -> list[str]:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as exc:
        raise InvalidRequest(f"{option}: {exc}; write {{{{ and }}}} for braces themselves") from exc
    for _, name, shape, conversion in parts:
        if name is not None and (not name or shape or conversion):
            raise InvalidRequest(
                f"{option}: braces hold a column's name and nothing else; write {{{{ and }}}} for braces themselves"
            )
    return [name for _, name, _, _ in parts if name]


def text_of(value: Any) -> str:
    """Return a value of a row as it stands in a prompt: text as it is, nothing for null, numbers and structures as JSON, the rest
    as Python writes it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return orjson.dumps(value, default=str).decode() if isinstance(value, bool | int | float | dict | list) else str(value)

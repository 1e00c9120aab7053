"""Servers with Anthropic's and Gemini's formats, in the project's environment, until the standard input ends.

They call the first tool that they are given, with arguments that fit its schema, and say what it gave back; they answer a schema
with what fits it, and all else with three rivers.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from tests.fake_providers import FAKE_PROVIDERS, Ending, ProviderServer, ReceivedRequest, Script, ToolCall

VALUES: Mapping[str, Any] = {"string": "Busan", "integer": 3, "number": 2.5, "boolean": True, "array": []}


def fitting(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """Return a value that fits a JSON schema."""
    if "$ref" in schema:
        return fitting(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if schema.get("type") == "object" or "properties" in schema:
        return {name: fitting(each, definitions) for name, each in schema.get("properties", {}).items()}
    return VALUES[schema.get("type", "string")]


def answer(received: ReceivedRequest) -> Script:
    """Answer as the module's docstring describes."""
    last = received.turns[-1]
    if last.role == "tool":
        return Script(f"The tool said: {last.parts[0].text}")
    schema = next(iter(received.tools.values()), None) or received.schema
    if schema is None:
        return Script("The Han, the Nakdong and the Geum.")
    value = fitting(schema, schema.get("$defs", {}))
    if received.tools:
        return Script("", (ToolCall(next(iter(received.tools)), value),), Ending.TOOLS)
    return Script(json.dumps(value))


with ProviderServer(FAKE_PROVIDERS["anthropic"], answer) as claude, ProviderServer(FAKE_PROVIDERS["gemini"], answer) as gemini:
    urls = {"claude": claude.endpoint(name="claude").url, "gemini": gemini.endpoint(name="gemini").url}
    print(json.dumps(urls), flush=True)
    sys.stdin.read()

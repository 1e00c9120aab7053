"""Local servers with the providers' wire formats, as strict as the real ones.

Each `fake_<provider>.py` has one `FakeProvider`: it reads a request into a `ReceivedRequest` (and refuses what the
real service refuses), and writes the answer of a test's `Script` in the provider's format.
"""

from importlib import import_module
from pathlib import Path

from tests.fake_providers.base import (
    Document,
    Ending,
    FakeProvider,
    Image,
    ReceivedRequest,
    Refused,
    Reply,
    Script,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Turn,
)
from tests.fake_providers.server import ProviderServer

__all__ = [
    "FAKE_PROVIDERS",
    "Document",
    "Ending",
    "FakeProvider",
    "Image",
    "ProviderServer",
    "ReceivedRequest",
    "Refused",
    "Reply",
    "Script",
    "Text",
    "Thought",
    "ToolCall",
    "ToolResult",
    "Turn",
]

FAKE_PROVIDERS: dict[str, FakeProvider] = {
    path.stem.removeprefix("fake_"): import_module(f"tests.fake_providers.{path.stem}").FAKE
    for path in sorted(Path(__file__).parent.glob("fake_*.py"))
}
"""By provider, or by provider and variant, such as `openai_responses`."""

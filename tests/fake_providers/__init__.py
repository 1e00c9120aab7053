"""Local servers that speak the providers' wire formats, as strictly as the real ones.

Each `speak_<provider>.py` has one `FakeProvider`: it reads a request into `Heard` (and refuses what the real service refuses),
and says what a test has `Script` it in the provider's own words.
"""

from importlib import import_module
from pathlib import Path

from tests.fake_providers.server import ProviderServer
from tests.fake_providers.speaker import (
    Document,
    Ending,
    FakeProvider,
    Heard,
    Image,
    Refused,
    Reply,
    Script,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Turn,
)

__all__ = [
    "FAKE_PROVIDERS",
    "Document",
    "Ending",
    "FakeProvider",
    "Heard",
    "Image",
    "ProviderServer",
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
    path.stem.removeprefix("speak_"): import_module(f"tests.fake_providers.{path.stem}").SPEAKER
    for path in sorted(Path(__file__).parent.glob("speak_*.py"))
}
"""By provider, or by provider and variant, such as `openai_responses`."""

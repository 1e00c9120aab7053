"""Local servers that speak the providers' wire formats, as strictly as the real ones.

Each `speak_<provider>.py` has one `Speaker`: it reads a request into `Heard` (and refuses what the real service refuses), and
says what a test has `Told` it in the provider's own words.
"""

from importlib import import_module
from pathlib import Path

from tests.speakers.server import SpeakerServer
from tests.speakers.speaker import (
    Document,
    Ending,
    Heard,
    Image,
    Refused,
    Reply,
    Speaker,
    Text,
    Told,
    ToolCall,
    ToolResult,
    Turn,
)

__all__ = [
    "SPEAKERS",
    "Document",
    "Ending",
    "Heard",
    "Image",
    "Refused",
    "Reply",
    "Speaker",
    "SpeakerServer",
    "Text",
    "Told",
    "ToolCall",
    "ToolResult",
    "Turn",
]

SPEAKERS: dict[str, Speaker] = {
    path.stem.removeprefix("speak_"): import_module(f"tests.speakers.{path.stem}").SPEAKER
    for path in sorted(Path(__file__).parent.glob("speak_*.py"))
}
"""By provider, or by provider and variant, such as `openai_responses`."""

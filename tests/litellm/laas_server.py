"""A LaaS on loopback that is steered by what it is asked: `python tests/litellm/laas_server.py` prints its address.

It runs in the project's own environment, since the fake providers need SDKs that can't share one with LiteLLM. The last message
decides: `fail RATE_LIMIT` gets that failure; `wait` gets its answer after two seconds; any other gets what was received.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from balancer.outcome import FailureKind, Usage
from tests.fake_providers import Document, Image, ProviderServer, ReceivedRequest, Reply, Script, Text
from tests.fake_providers.fake_laas import FAKE

WAIT_SECONDS = 2.0


def answer(received: ReceivedRequest) -> Script | Reply:
    """Answer with what was received, or fail."""
    wish = " ".join(part.text for part in received.turns[-1].parts if isinstance(part, Text))
    if wish.startswith("fail "):
        reply = FAKE.fail(FailureKind[wish.removeprefix("fail ")])
        assert reply is not None
        return reply
    if wish == "wait":
        time.sleep(WAIT_SECONDS)
    turns = "; ".join(f"{turn.role}: {' + '.join(map(_described, turn.parts))}" for turn in received.turns)
    body = json.loads(server.bodies[-1])
    fields = {name: body[name] for name in sorted(body) if name != "messages"}
    return Script(f"{json.dumps(fields)} {turns}", usage=Usage(11, 5))


def _described(part: object) -> str:
    match part:
        case Text(text):
            return text
        case Image(url=str(url)):
            return f"image at {url}"
        case Image(media_type, data) | Document(media_type, data):
            return f"{media_type} of {len(data or '')} characters"
    return type(part).__name__


server = ProviderServer(FAKE, answer)

if __name__ == "__main__":
    with server:
        print(server.address, flush=True)
        sys.stdin.read()  # until whoever started it goes away

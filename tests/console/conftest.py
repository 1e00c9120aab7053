"""A server with an API key, a fleet that can be broken, and a browser before it."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.acceptance.cluster import Cluster, ModelServer
from tests.acceptance.conftest import prefork
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer
from tests.fake_providers.base import KEY

__all__ = ["prefork"]

ROOT = "root-key-of-the-console-0123456789"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
PICTURES = os.environ.get("CONSOLE_PICTURES")
"""A folder that the pictures of the documentation are written to."""


class Console:
    """A page of the console, with the address of its server and what its browser has complained about."""

    def __init__(self, page: Page, url: str, servers: list[ModelServer], picky: ProviderServer) -> None:
        self.page = page
        self.url = url
        self.servers = servers
        self.picky = picky
        """Serves the model of that name, and answers what a test wants."""
        self.complaints: list[str] = []
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, kind: str, text: str) -> None:
        # A refused request is part of what is shown: signing in with a wrong key, say.
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.complaints.append(text)

    async def go(self, place: str) -> None:
        await self.page.goto(f"{self.url}/#/{place}")

    async def sign_in(self) -> None:
        await self.page.goto(self.url)
        await self.page.fill("#key", ROOT)
        await self.page.click("main button.main")
        await self.page.wait_for_selector("nav a[aria-current]")

    async def picture(self, name: str) -> None:
        if PICTURES:
            await self.page.screenshot(path=Path(PICTURES) / f"{name}.png")


@pytest.fixture(scope="session")
def chromium() -> Iterator[str]:
    if shutil.which(CHROMIUM) is None:
        pytest.fail("there is no Chromium: install it (`apt-get install chromium`), or name it in CHROMIUM")
    yield CHROMIUM


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
async def console(tmp_path: Path, prefork: Any, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Console]:
    monkeypatch.setenv("ROADBALANCER_API_KEYS", ROOT)
    cluster = Cluster(tmp_path, prefork)
    stack = ExitStack()
    try:
        cluster.start_redis()
        price = {"price": {"input": 1.0, "output": 2.0}, "max_concurrency": 4}
        servers = [await cluster.start_model(name, endpoint=price, latency=0.05) for name in ("gpu1", "gpu2")]
        picky = stack.enter_context(ProviderServer(FAKE_PROVIDERS["openai"]))
        entry = {"name": "picky", "url": picky.endpoint().url, "models": ["picky"], "api_key": KEY}
        cluster.settings["endpoints"].append(entry)
        cluster.write_config()
        await cluster.start_worker()
        _, url = await cluster.start_api()
        context = await browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
        made = Console(await context.new_page(), url, servers, picky)
        yield made
        assert made.complaints == [], "nothing in the browser's console"
    finally:
        cluster.end()
        stack.close()

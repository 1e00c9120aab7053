"""The console as a user sees it: each page, each action, in a real Chromium."""

import json
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from balancer.outcome import FailureKind
from tests.acceptance.cluster import HTTP
from tests.console.conftest import ROOT, Console
from tests.fake_providers import Script

HEADERS = {"authorization": f"Bearer {ROOT}"}
PAGES = ("jobs", "new", "fleet", "usage", "keys", "play", "workers")
XSS = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def csv(folder: Path, rows: int) -> Path:
    path = folder / "questions.csv"
    path.write_text("name,question\n" + "".join(f'n{n},"Is {n} odd, or ""even""?"\n' for n in range(rows)))
    return path


async def test_a_new_user_goes_the_whole_way(console: Console, tmp_path: Path) -> None:
    page = console.page
    await page.goto(console.url)
    await page.fill("#key", "a-wrong-key")
    await page.click("main button.main")
    await expect(page.locator("[role=alert]")).to_have_text("401")
    await console.sign_in()
    await page.click("text=New job")
    await page.set_input_files("#file", csv(tmp_path, 400))
    await page.fill("#template", "Answer: {question}")
    await page.click("text=Upload")
    estimate = page.locator("#estimate")
    await expect(estimate).to_contain_text("400 Lines")
    await expect(estimate).to_contain_text("as configured")
    await console.picture("console-estimate")
    await page.fill("#canary", "5")
    await page.click("#estimate button.main")
    await expect(page.locator("main")).to_contain_text("paused (canary)", timeout=20_000)
    await expect(page.locator("#lines tbody tr")).to_have_count(5)
    await expect(page.locator("#lines tbody tr").first.locator("td").nth(1)).to_have_text('Answer: Is 0 odd, or "even"?')
    await page.click("text=Confirm the canary")
    await expect(page.locator("#why")).to_contain_text("lines are finished", timeout=10_000)
    await console.picture("console-job")
    console.servers[0].kill()
    await console.go("fleet")
    await expect(page.locator("#fleet section", has_text="gpu1")).to_contain_text("failing", timeout=20_000)
    await page.click("[aria-label='Drain gpu1']")
    await expect(page.locator("#fleet section", has_text="gpu1")).to_contain_text("draining")
    await console.picture("console-fleet")
    await page.go_back()
    await expect(page.locator("main dd").first).to_have_text("completed", timeout=60_000)
    async with page.expect_download() as downloading:
        await page.click("text=Download")
    rows = [json.loads(line) for line in Path(await (await downloading.value).path()).read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == [f"row-{n + 1}" for n in range(400)]


async def test_failed_lines_are_grouped_and_sent_again(console: Console) -> None:
    refused = console.picky.fake.fail(FailureKind.BAD_REQUEST)
    assert refused is not None
    console.picky.answer = refused
    await console.sign_in()
    wanted = {"prompts": [f"{XSS} {n}" for n in range(3)], "model": "picky"}
    job = HTTP.post(f"{console.url}/api/v1/jobs", headers=HEADERS, json=wanted).json()
    await console.go(f"jobs/{job['id']}")
    page = console.page
    await expect(page.locator("#errors")).to_contain_text("3", timeout=30_000)
    await expect(page.locator("#lines")).to_contain_text(XSS)
    assert await page.locator("main img, main script").count() == 0
    console.picky.answer = Script(XSS)
    await page.click("text=Retry failed")
    await expect(page.locator("main dd").nth(1)).to_have_text("3 / 3", timeout=30_000)
    await page.select_option("#status", "completed")
    await expect(page.locator("#lines tbody tr")).to_have_count(3)
    await page.fill("#words", "no such words")
    await expect(page.locator("#lines tbody tr")).to_have_count(0)
    await page.fill("#words", f"{XSS} 2".upper())
    await expect(page.locator("#lines tbody tr")).to_have_count(1)


async def test_lines_are_found_by_a_text_beyond_the_first_page(console: Console) -> None:
    await console.sign_in()
    prompts = [f"Is {number} odd?" for number in range(400)]
    job = HTTP.post(f"{console.url}/api/v1/jobs", headers=HEADERS, json={"prompts": prompts}).json()
    await console.go(f"jobs/{job['id']}")
    page = console.page
    await expect(page.locator("main dd").first).to_have_text("completed", timeout=30_000)
    await page.fill("#words", "is 39")
    rows = page.locator("#lines tbody tr")
    await expect(rows).to_have_count(11)
    await expect(rows.last).to_contain_text("Is 399 odd?")
    await expect(page.locator("#searched")).to_have_text("Lines searched: 400 / 400")
    await page.fill("#words", "odd")
    await expect(rows).to_have_count(25)
    await page.click("text=More")
    await expect(rows).to_have_count(50)
    await page.select_option("#status", "failed")
    await expect(rows).to_have_count(0)
    await expect(page.locator("#searched")).to_have_text("Lines searched: 400 / 400")


async def test_a_job_is_steered(console: Console) -> None:
    for server in console.servers:
        server.behave(latency=1.0)
    await console.sign_in()
    job = HTTP.post(f"{console.url}/api/v1/jobs", headers=HEADERS, json={"prompts": ["a"] * 400}).json()
    await console.go(f"jobs/{job['id']}")
    page = console.page
    await page.click("text=Pause")
    await expect(page.locator("main")).to_contain_text("paused (held)")
    await page.click("text=Resume")
    await expect(page.locator("main dd").first).to_have_text("in_progress")
    await page.fill("main input[type=number]", "7")
    await page.click("text=Change priority")
    await expect(page.locator("main dl")).to_contain_text("Priority7")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.click("main button.danger")
    await expect(page.locator("main dd").first).to_have_text("cancelled", timeout=20_000)


async def test_the_fleet_is_changed(console: Console) -> None:
    await console.sign_in()
    await console.go("fleet")
    page = console.page
    await page.fill("#url", "http://127.0.0.1:9/v1")
    await page.fill("#name", "gpu3")
    await page.click("main button.main")
    row = page.locator("#fleet section", has_text="gpu3")
    await expect(row).to_be_visible()
    await page.click("[aria-label='Drain gpu3']")
    await expect(row).to_contain_text("draining")
    await page.click("[aria-label='Use again gpu3']")
    await expect(row).not_to_contain_text("draining")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.click("[aria-label='Remove gpu3']")
    await expect(row).to_have_count(0)


async def test_keys_are_made_rotated_and_revoked(console: Console) -> None:
    await console.sign_in()
    await console.go("keys")
    page = console.page
    await page.fill("#key-name", "alice")
    await page.fill("#key-days", "7")
    await page.click("main button.main")
    first = await page.inner_text("#secret")
    await expect(page.locator("#keys")).to_contain_text("Days kept 7")
    await page.get_by_label("Requests a minute").fill("60")
    await page.click("[aria-label='Limits alice']")
    await expect(page.locator("#keys")).to_contain_text("rpm 60")
    await expect(page.locator("#keys")).to_contain_text("Days kept 7")
    await page.click("[aria-label='Rotate alice']")
    await expect(page.locator("#secret")).not_to_have_text(first)
    page.on("dialog", lambda dialog: dialog.accept())
    async with page.expect_response(lambda answer: answer.url.endswith("/data")) as deleted:
        await page.click("[aria-label='Delete data alice']")
    assert (await (await deleted.value).json())["unfinished"] == 0
    await page.click("[aria-label='Revoke alice']")
    await expect(page.locator("#keys")).to_contain_text("revoked")
    await console.picture("console-keys")


async def test_a_chat_says_what_it_took(console: Console) -> None:
    await console.sign_in()
    await console.go("play")
    page = console.page
    await page.fill("#prompt", "Hello")
    await page.click("main button.main")
    await expect(page.locator("#about")).to_contain_text("Tokens", timeout=10_000)
    assert await page.inner_text("#answer")
    await console.go("usage")
    await expect(page.locator("#usage tbody tr")).to_have_count(1, timeout=10_000)
    await page.select_option("#by", "model")
    await expect(page.locator("#usage thead")).to_contain_text("model")
    await console.picture("console-usage")
    await console.go("workers")
    await expect(page.locator("#workers tbody tr")).to_have_count(1, timeout=10_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 380])
async def test_every_page_is_accessible(console: Console, scheme: str, width: int) -> None:
    page = console.page
    await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    await page.set_viewport_size({"width": width, "height": 800})
    await page.goto(console.url)
    await expect(page.locator("#key")).to_be_visible()
    found = {"sign in": await Axe().run(page)}
    await console.sign_in()
    for name in PAGES:
        await console.go(name)
        await expect(page.locator("main h1")).to_be_visible()
        found[name] = await Axe().run(page)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the screen"
    assert {name: result.generate_report() for name, result in found.items() if result.violations_count} == {}


async def test_korean(console: Console) -> None:
    await console.sign_in()
    await console.page.select_option("#language", "ko")
    await expect(console.page.locator("nav")).to_contain_text("작업")
    await console.go("fleet")
    await expect(console.page.locator("h1")).to_have_text("엔드포인트")
    assert await console.page.get_attribute("html", "lang") == "ko"


async def test_the_page_is_all_of_files_of_its_own(console: Console) -> None:
    asked: list[str] = []
    console.page.on("request", lambda request: asked.append(request.url))
    await console.sign_in()
    assert asked and all(url.startswith(console.url) for url in asked)
    answer = HTTP.get(console.url, headers={"accept": "text/html"})
    assert "unsafe-inline" not in answer.headers["content-security-policy"]

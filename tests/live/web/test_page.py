"""The page in a real browser: Debian's or anybody's Chromium, where there is one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from accel_rt.live.web import LiveServer, serve
from tests.live.web.conftest import TOKEN
from tests.live.web.fake import FakeLoop
from tests.need import need

sync_api, CHROMIUM = need("playwright"), need("chromium")
pytestmark = pytest.mark.browser

Start = Callable[..., LiveServer]
PATIENCE_MS = 30_000

RED = "document.querySelector('#picture').getContext('2d').getImageData(5, 5, 1, 1).data[0]"


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    rebinding = "--host-resolver-rules=MAP rebound.example 127.0.0.1"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*sandbox, rebinding])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: sync_api.Browser) -> Iterator[Callable[..., sync_api.Page]]:
    """Open an address in a browser that knows nothing yet; options as for a Playwright context.

    What the page complains about fails the test, but for refused requests, which it shows.
    """
    contexts, complaints = [], []

    def visit(url: str, **options: object) -> sync_api.Page:
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(PATIENCE_MS)
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [text for text in complaints if "Security Policy" in text or "Error:" in text] == []


def wait_until(page: sync_api.Page, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not holds():
        assert time.monotonic() < deadline, "did not come true"
        page.wait_for_timeout(20)


def wait_true(page: sync_api.Page, script: str) -> None:
    """Playwright's own waiting would evaluate text inside the page, which its policy forbids."""
    wait_until(page, lambda: page.evaluate(script))


def wait_live(page: sync_api.Page) -> None:
    page.wait_for_selector("#state[data-state=running]")
    wait_true(page, "document.querySelector('#picture').width > 16")


def test_the_picture_and_the_figures_move(
    loop: FakeLoop, server: LiveServer, visit: Callable[..., sync_api.Page]
) -> None:
    page = visit(server.url)
    wait_live(page)
    assert page.title() == "fake camera · accel-rt live"
    for _ in range(2):
        before = page.evaluate(RED)
        wait_true(page, f"Math.abs({RED} - {before}) > 8")
    keyframes = page.inner_text("#keyframes")
    wait_true(page, f"document.querySelector('#keyframes').textContent !== '{keyframes}'")
    assert page.inner_text("#age") == "31.5"
    assert page.inner_text("#source") == "fake camera · 160×96"
    assert page.inner_text("#classes li:nth-child(4)").split() == ["road", "9%"]
    assert page.inner_text("#stage-keys") != ""
    wait_true(page, "/ms$/.test(document.querySelector('#screen').textContent)")


def test_the_controls_act(
    loop: FakeLoop, server: LiveServer, visit: Callable[..., sync_api.Page]
) -> None:
    page = visit(server.url)
    wait_live(page)
    page.locator("#mode label", has_text="dff").click()
    wait_until(page, lambda: loop.settings.mode == "dff")
    page.locator("#mode label", has_text="accel").click()
    wait_until(page, lambda: loop.settings.mode == "accel")
    page.wait_for_selector("#update:enabled")
    page.select_option("#update", "resnet18")
    wait_until(page, lambda: loop.settings.update == "resnet18")
    page.select_option("#update_scale", label="50%")
    wait_until(page, lambda: loop.settings.update_scale == 0.5)
    page.fill("#alpha", "0.8")
    wait_until(page, lambda: loop.settings.alpha == 0.8)
    page.fill("#interval", "12")
    wait_until(page, lambda: loop.settings.interval == 12)
    page.click("#outline")
    wait_until(page, lambda: loop.settings.outline)
    page.click("#legend")
    wait_until(page, lambda: not loop.settings.legend)
    page.click("#classes li:nth-child(1)")
    wait_until(page, lambda: loop.settings.classes is not None)
    assert loop.settings.classes == loop.classes.names[1:]
    page.click("#all-classes")
    wait_until(page, lambda: loop.settings.classes is None)
    page.click("#pause")
    wait_until(page, lambda: loop.settings.paused)
    page.wait_for_selector("#state[data-state=paused]")
    page.locator("body").press(" ")
    wait_until(page, lambda: not loop.settings.paused)
    page.click("#record")
    page.wait_for_selector("#recording:visible")
    assert page.inner_text("#recording") == "live.mp4"
    page.click("#record")
    wait_until(page, lambda: loop.recording is None)
    with page.expect_download() as download:
        page.click("#snapshot")
    image = cv2.imdecode(np.fromfile(download.value.path(), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (96, 160, 3)


def test_controls_follow_what_others_change(
    loop: FakeLoop, server: LiveServer, visit: Callable[..., sync_api.Page]
) -> None:
    page = visit(server.url)
    wait_live(page)
    loop.change("alpha", 0.9)
    loop.change("interval", 45)
    loop.change("mode", "deeplab")
    loop.change("classes", ("road",))
    wait_true(page, "document.querySelector('#alpha-value').value === '90%'")
    wait_true(page, "document.querySelector('#interval').value === '45'")
    page.wait_for_selector("#mode input[value=deeplab]:checked", state="attached")
    page.wait_for_selector("#update:disabled")
    assert page.locator("#classes [aria-pressed=true]").count() == 1


def test_a_refused_change_is_said_and_taken_back(
    loop: FakeLoop, server: LiveServer, visit: Callable[..., sync_api.Page]
) -> None:
    loop.fail_record = True
    page = visit(server.url)
    wait_live(page)
    page.click("#record")
    page.wait_for_selector("#toast:visible")
    assert page.inner_text("#toast") == "cannot write live.mp4: the disk is full"
    assert page.inner_text("#record") == "Record"


def test_trouble_with_the_source_is_said(
    loop: FakeLoop, server: LiveServer, visit: Callable[..., sync_api.Page]
) -> None:
    page = visit(server.url)
    wait_live(page)
    loop.state, loop.message = "reconnecting", "<b>cable</b> pulled"
    page.wait_for_selector("#notice:visible")
    assert page.inner_text("#notice") == "<b>cable</b> pulled"
    assert page.inner_text("#state") == "no signal"
    loop.state, loop.message = "running", ""
    page.wait_for_selector("#notice", state="hidden")


def test_what_is_wrong_beside_the_source_is_said_over_the_picture(
    loop: FakeLoop, server: LiveServer, visit: Callable[..., sync_api.Page]
) -> None:
    page = visit(server.url)
    wait_live(page)
    loop.message = "the disk is full"
    page.wait_for_selector("#notice:visible")
    assert page.inner_text("#notice") == "the disk is full"
    assert page.inner_text("#state") == "live"
    assert not page.query_selector("#frame.dimmed")


def test_the_page_comes_back_with_the_server(
    loop: FakeLoop, server: LiveServer, visit: Callable[..., sync_api.Page]
) -> None:
    page = visit(server.url)
    wait_live(page)
    server.stop()
    page.wait_for_selector("#state[data-state=lost]")
    with serve(loop, port=urlsplit(server.url).port or 0):
        wait_live(page)
        page.wait_for_selector("#notice", state="hidden")


def test_the_token_is_asked_for_once(
    loop: FakeLoop, start: Start, visit: Callable[..., sync_api.Page]
) -> None:
    server = start(TOKEN)
    page = visit(f"{server.url}/#token=wrong")
    assert "not the token" in page.inner_text("form")
    page.fill("#token", "wrong as well")
    page.click("button")
    assert "not the token" in page.inner_text("form")
    page.fill("#token", TOKEN)
    page.click("button")
    wait_live(page)
    page.reload()
    wait_live(page)
    assert page.evaluate("document.cookie") == ""


def test_a_link_with_the_token_opens_the_page_from_anywhere(
    loop: FakeLoop, start: Start, visit: Callable[..., sync_api.Page]
) -> None:
    server = start(TOKEN)
    page = foreign_page(visit, f'<a href="{server.link}">watch</a>')
    page.click("a")
    wait_live(page)
    assert TOKEN not in page.url


def foreign_page(visit: Callable[..., sync_api.Page], body: str) -> sync_api.Page:
    """A page of another site."""
    page = visit("about:blank")
    page.route(
        "http://evil.example/",
        lambda route: route.fulfill(content_type="text/html", body=body),
    )
    page.goto("http://evil.example/")
    return page


def test_another_sites_page_gets_nowhere(
    loop: FakeLoop, server: LiveServer, visit: Callable[..., sync_api.Page]
) -> None:
    page = foreign_page(visit, "<p>click here</p>")
    outcomes = page.evaluate(
        """async (url) => {
            const body = JSON.stringify({ name: "alpha", value: 0.1 });
            const tell = (promise) => promise.then(() => "let in", () => "refused");
            const socket = new Promise((opened, failed) => {
                const viewer = new WebSocket(url.replace("http", "ws") + "/viewer");
                viewer.onopen = opened;
                viewer.onerror = failed;
            });
            const picture = new Promise((loaded, failed) => {
                const image = new Image();
                image.onload = loaded;
                image.onerror = failed;
                image.src = url + "/snapshot.png";
            });
            const json = { "Content-Type": "application/json" };
            const post = (options) => fetch(url + "/control", { method: "POST", body, ...options });
            await tell(post({ mode: "no-cors" }));
            return {
                read: await tell(fetch(url + "/stats")),
                control: await tell(post({ headers: json })),
                socket: await tell(socket),
                picture: await tell(picture),
            };
        }""",
        server.url,
    )
    assert outcomes == dict.fromkeys(("read", "control", "socket", "picture"), "refused")
    assert loop.settings.alpha == 0.5
    assert server.summary()["served"] == 0


def test_a_name_pointed_at_this_machine_gets_nowhere(
    loop: FakeLoop, server: LiveServer, visit: Callable[..., sync_api.Page]
) -> None:
    page = visit("about:blank")
    answer = page.goto(f"http://rebound.example:{urlsplit(server.url).port}/")
    assert answer is not None
    assert answer.status == 403
    assert "accel-rt" not in page.inner_text("body")


@pytest.mark.parametrize(("width", "height"), [(320, 568), (390, 844), (844, 390), (1440, 900)])
def test_nothing_sticks_out_of_the_screen(
    loop: FakeLoop, server: LiveServer, visit: Callable[..., sync_api.Page], width: int, height: int
) -> None:
    loop.source = "rtsp://camera.example/" + "a-rather-long-name-" * 6
    loop.message = "no answer from " + loop.source
    page = visit(server.url, viewport={"width": width, "height": height})
    wait_live(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cut = page.evaluate(
        """[...document.querySelectorAll("button, .button, select, dd b, dt, h2, label")]
            .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1)
            .filter((one) => getComputedStyle(one).display !== "inline")
            .map((one) => one.textContent.trim())"""
    )
    assert cut == []


def test_light_and_dark_follow_the_system(
    loop: FakeLoop, server: LiveServer, visit: Callable[..., sync_api.Page]
) -> None:
    def brightness(scheme: str) -> list[int]:
        page = visit(server.url, color_scheme=scheme)
        wait_live(page)
        return page.evaluate(
            """["backgroundColor", "color"].map((name) =>
                Number(getComputedStyle(document.body)[name].match(/\\d+/)[0]))"""
        )

    back, text = brightness("light")
    assert back > 200 > 60 > text
    back, text = brightness("dark")
    assert back < 60 < 200 < text

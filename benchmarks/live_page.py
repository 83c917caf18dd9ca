"""Delay from capture to a browser's screen: JPEG over WebSocket beside MJPEG over HTTP.

    python -m benchmarks.live_page [--seconds 8] [--rounds 3] [--link KBIT ...]

Made-up pictures carry their number in their first rows; a script in headless Chromium reads it
back from what is on the screen. Both transports show the same pictures, in turns.
With ``--link`` they go through a relay that lets so many kbit/s through, as a slow network does.
Needs Chromium and ``pip install 'accel-rt[dev]'``.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from fractions import Fraction

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, StreamingResponse
from playwright.sync_api import Browser, sync_playwright

from accel_rt.live.stats import LivePicture
from accel_rt.live.web.server import serve
from accel_rt.live.web.viewers import Limits, encode
from accel_rt.runtime.result import FrameResult
from tests.live.web.fake import FakeLoop

SIZE = (960, 540)
BITS, CELL_PX = 16, 16

# Reads the number of the picture on the screen at every repaint, and when it changed.
WATCH = f"""
(shown) => {{
  const probe = new OffscreenCanvas({BITS}, 1).getContext("2d", {{ willReadFrequently: true }});
  const log = (window.shownAt = []);
  const look = () => {{
    const screen = document.querySelector(shown);
    const width = screen.naturalWidth || screen.width;
    if (width > 16) {{
      probe.drawImage(screen, 0, 0, {BITS * CELL_PX}, {CELL_PX}, 0, 0, {BITS}, 1);
      const bits = probe.getImageData(0, 0, {BITS}, 1).data;
      let index = 0;
      for (let i = 0; i < {BITS}; i++) index += bits[4 * i] > 127 ? 2 ** i : 0;
      const last = log.at(-1);
      if (!last || last[0] !== index) log.push([index, performance.timeOrigin + performance.now()]);
    }}
    requestAnimationFrame(look);
  }};
  look();
}}
"""


class StampedLoop(FakeLoop):
    """Noisy street-like pictures whose first rows are their number in black and white cells."""

    def __init__(self, fps: float) -> None:
        self.captured: dict[int, float] = {}
        rng = np.random.default_rng(0)
        scene = rng.integers(0, 255, (SIZE[1] // 12, SIZE[0] // 12, 3), np.uint8)
        self._scene = cv2.resize(scene, SIZE, interpolation=cv2.INTER_CUBIC)
        super().__init__(SIZE, fps)

    def wait_picture(self, after_index: int = -1, timeout: float | None = None):
        with self._moved:
            if not self._moved.wait_for(lambda: self._index > after_index, timeout):
                return None
            index = self._index
        image = np.roll(self._scene, 4 * index, axis=1)
        for bit in range(BITS):
            image[:CELL_PX, bit * CELL_PX : (bit + 1) * CELL_PX] = 255 * (index >> bit & 1)
        self.captured[index] = time.time()
        result = FrameResult(index, Fraction(index), "update", np.zeros((1, 1), np.uint8))
        return LivePicture(index, "update", image, time.monotonic(), result, image)


@contextmanager
def serve_mjpeg(loop: StampedLoop) -> Iterator[str]:
    """The address of a page that shows ``loop`` as MJPEG."""
    app = FastAPI()

    async def parts() -> AsyncIterator[bytes]:
        index = -1
        while True:
            picture = await asyncio.to_thread(loop.wait_picture, index, 1.0)
            if picture is not None:
                index = picture.index
                jpeg = (await asyncio.to_thread(encode, picture, Limits())).jpeg
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                yield head.encode() + jpeg + b"\r\n--picture\r\n"

    @app.get("/mjpeg")
    def mjpeg() -> StreamingResponse:
        kind = "multipart/x-mixed-replace; boundary=picture"
        return StreamingResponse(parts(), media_type=kind)

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse('<img id="mjpeg" src="/mjpeg">')

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@contextmanager
def relay(url: str, kbit_s: float) -> Iterator[str]:
    """An address that leads to ``url`` at ``kbit_s`` kilobits a second towards the caller."""
    port = int(url.rsplit(":", 1)[1])
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, bytes_s: float | None) -> None:
        try:
            while data := source.recv(4096):
                sink.sendall(data)
                if bytes_s:
                    time.sleep(len(data) / bytes_s)
        except OSError:
            pass
        source.close()
        sink.close()

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            far.connect(("127.0.0.1", port))
            for pair in ((near, far, None), (far, near, kbit_s * 125)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def measure(browser: Browser, url: str, shown: str, seconds: float, loop: StampedLoop) -> list:
    """Delays in ms of the pictures that were on the screen in the second half of ``seconds``."""
    context = browser.new_context(viewport={"width": 1000, "height": 700}, bypass_csp=True)
    page = context.new_page()
    page.goto(url, wait_until="commit")
    page.wait_for_selector(shown, state="attached")
    page.evaluate(WATCH, shown)
    page.wait_for_timeout(1000 * seconds)
    log = page.evaluate("shownAt")
    context.close()
    half = [entry for entry in log if entry[1] > log[-1][1] - 500 * seconds]
    return [at - 1000 * loop.captured[index] for index, at in half if index in loop.captured]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--link", type=float, nargs="*", default=[], metavar="KBIT")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    loop = StampedLoop(options.fps)
    with ExitStack() as stack:
        server = stack.enter_context(serve(loop, port=0))
        ways = {
            "websocket": (server.url, "#picture"),
            "mjpeg": (stack.enter_context(serve_mjpeg(loop)), "#mjpeg"),
        }
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for kbit_s in (None, *options.link):
            delays: dict[str, list] = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, (url, shown) in ways.items():
                    with relay(url, kbit_s) if kbit_s else nullcontext(url) as address:
                        delays[way] += measure(browser, address, shown, options.seconds, loop)
            for way, ms in delays.items():
                p50, p95 = np.percentile(ms, (50, 95)) if ms else (np.nan, np.nan)
                rate = len(ms) / (options.rounds * options.seconds / 2)
                link = f"{kbit_s:g} kbit/s" if kbit_s else "loopback"
                print(f"{link:14} {way:10} p50 {p50:7.1f} ms  p95 {p95:7.1f} ms  {rate:5.1f} fps")
        browser.close()
    loop.stop()


if __name__ == "__main__":
    main()

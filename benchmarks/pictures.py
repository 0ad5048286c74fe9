"""
Pictures of the listener's page, for the documentation.

    python -m benchmarks.pictures [--out docs/pictures]

Chromium shows the page of fleets of 3, 50 and 500 workers, in a wide and a narrow window, light and
dark. The fleets are in memory, and so is their time: the pictures change only with the page.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import react

from tests.browser import Browser
from tests.fleets import fleet, names
from tests.peers import requirePeer
from tests.watched import Watched

FLEETS = (3, 50, 500)
THEMES = ("light", "dark")

# Width and greatest height of the pictures, in pixels.
WINDOWS = ((1280, 1400), (390, 844))

# The page has few colours; the edges of letters add shades.
COLOURS = 256


def small(png: bytes) -> bytes:
    """The same picture with a palette of its most frequent colours: a third of the octets."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    counted = picture.getcolors(picture.width * picture.height) or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(
        [
            part
            for _, colour in sorted(counted, reverse=True)[:COLOURS]
            if isinstance(colour, tuple)
            for part in colour
        ]
    )
    octets = io.BytesIO()
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(
        octets, "PNG", optimize=True
    )
    return octets.getvalue()


async def _shoot(browser: Browser, url: str, name: str, out: Path, whole: bool) -> None:
    """One page in all windows and themes."""
    tab = await browser.open()
    for width, height in WINDOWS:
        for theme in THEMES:
            await tab.size(width, height)
            await tab.prefer(theme)
            await tab.go(url)
            length = await tab.evaluate("document.documentElement.offsetHeight")
            await tab.size(width, length if whole else min(height, length))
            path = out / f"{name}-{width}-{theme}.png"
            path.write_bytes(small(await tab.picture()))
            print(f"{path}: {path.stat().st_size} octets")


async def _take(reactor: Any, out: Path, whole: bool, only: list[int]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    browser = Browser.start(requirePeer("chromium"))
    try:
        for count in only or FLEETS:
            watched = Watched(reactor)
            fleet(watched, count)
            port = reactor.listenTCP(0, watched.site, interface="127.0.0.1")
            url = f"http://127.0.0.1:{port.getHost().port}/"
            await _shoot(browser, url, f"fleet-{count}", out, whole)
            if count == FLEETS[0]:
                worker = f"{url}worker/{names(count)[1]}"
                await _shoot(browser, worker, "worker", out, whole)
            await port.stopListening()
    finally:
        await browser.stop()


def main(reactor: Any, *words: str) -> Deferred[None]:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--whole", action="store_true", help="take the whole page")
    parser.add_argument("--only", type=int, action="append", default=[])
    options = parser.parse_args(words)
    return ensureDeferred(_take(reactor, options.out, options.whole, options.only))


if __name__ == "__main__":
    react(main, sys.argv[1:])

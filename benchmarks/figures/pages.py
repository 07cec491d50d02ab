"""The pictures of pages in docs/img: the painter in English, in Chinese and on a phone, and the report of a folder.

    python -m benchmarks.figures.pages

The shipped model makes every landscape in them. It needs Chromium (apt-get install chromium) and the kit's `dev`
packages.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect

from benchmarks.common.browser import CHROMIUM, INSTALL, chromium
from benchmarks.common.duel import PROJECT

SHIPPED = PROJECT / "jiidm" / "assets" / "demo.safetensors"
DESK: ViewportSize = {"width": 1440, "height": 1010}
PHONE: ViewportSize = {"width": 360, "height": 1290}
PAPER: ViewportSize = {"width": 1120, "height": 2020}
WATERFALL, ROAD, PATH = 2, 4, 5
"""Masks that the painter offers, by their places in its list."""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "jiidm", *map(str, arguments), "--device", "cpu"]


@contextlib.contextmanager
def painter() -> Iterator[str]:
    """The address of a painter that runs as long as the block."""
    painting = command("paint", "--checkpoint", SHIPPED, "--no-browser")
    process = subprocess.Popen(painting, stdout=subprocess.PIPE, text=True)
    try:
        yield next(line.split()[1] for line in process.stdout if line.startswith("painter: "))
    finally:
        process.terminate()
        process.wait()


def save(page: Page, path: Path, scale: float = 0.75) -> None:
    """What the window shows from the page's top, smaller, as a JPEG."""
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.resize([round(scale * side) for side in picture.size], Image.Resampling.LANCZOS).save(path, quality=85)
    print(path)


def opened(browser: Browser, url: str, window: ViewportSize, locale: str, mask: int) -> Page:
    """A painter's page with a mask of its list."""
    page = browser.new_context(viewport=window, locale=locale).new_page()
    page.goto(url)
    page.wait_for_selector("body[data-ready]")
    page.locator("#live").set_checked(False)
    page.click(f"#masks button >> nth={mask}")
    page.wait_for_load_state("networkidle")
    return page


def generate(page: Page, photo: int) -> None:
    """A landscape in the style of a photo of the list."""
    made = page.locator("#gallery li").count()
    page.click(f"#references button >> nth={photo}")
    page.click("#generate")
    expect(page.locator("#gallery li")).to_have_count(made + 1, timeout=120_000)


def draw_boat(page: Page) -> None:
    page.click("#tools [data-key=brush]")
    page.click("#classes button:has-text('boat')")
    page.locator("#size").fill("10")
    canvas = page.locator("#canvas")
    canvas.hover(position={"x": 240, "y": 260})
    page.mouse.down()
    canvas.hover(position={"x": 290, "y": 260})
    page.mouse.up()


def draw_painter(browser: Browser, url: str, out: Path) -> None:
    page = opened(browser, url, DESK, "en-GB", WATERFALL)
    for photo in (3, 2, 4):
        generate(page, photo)
    draw_boat(page)
    generate(page, 1)
    save(page, out / "painter.jpg")
    page = opened(browser, url, DESK, "zh-CN", ROAD)
    generate(page, 1)
    save(page, out / "painter-zh.jpg")
    page = opened(browser, url, PHONE, "en-GB", PATH)
    generate(page, 2)
    save(page, out / "painter-phone.jpg", scale=1)


def draw_report(browser: Browser, folder: Path, path: Path) -> None:
    """The page on eight generated masks. Its first three sliders show different stages."""
    subprocess.run(command("infer", "--checkpoint", SHIPPED), cwd=folder, check=True)
    images = folder / "out"
    inputs = next(images.glob("_run/inputs_*"))
    masks, references = inputs / "labels", inputs / "references.json"
    subprocess.run(command("score", images, "--masks", masks, "--refs", references, "--real", inputs), check=True)
    page = browser.new_page(viewport=PAPER)
    page.goto((images / "_run" / "report.html").as_uri())
    for number, stage in enumerate((4, 0, 2)):
        page.locator(".slider input").nth(number).fill(str(stage))
    page.evaluate("Promise.all([...document.images].map((image) => ((image.loading = 'eager'), image.decode())))")
    save(page, path)


def draw(out: Path) -> None:
    if CHROMIUM is None:
        sys.exit(f"error: {INSTALL}")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        with painter() as url:
            draw_painter(browser, url, out)
        draw_report(browser, Path(folder), out / "report.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "img", metavar="FOLDER")
    draw(parser.parse_args().out.resolve())


if __name__ == "__main__":
    main()

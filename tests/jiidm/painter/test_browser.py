"""The painter in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from jiidm.classes import CLASS_NAMES
from jiidm.data.images import save_jpeg, save_png
from jiidm.data.synthetic.dataset import landscape
from jiidm.size import Size

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
from benchmarks.common.browser import CHROMIUM, INSTALL, chromium  # noqa: E402  it imports Playwright

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=INSTALL)]

WIDTH, HEIGHT = 64, 48  # of the smoke model, and so of an empty mask
SKY, TREE, SEA = (CLASS_NAMES.index(name) for name in ("sky", "tree", "sea"))


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with chromium() as browser:
        yield browser


class Tab:
    """A tab of the painter, in mask pixels."""

    def __init__(self, browser, url: str, live: bool = False, **context):
        self.context = browser.new_context(accept_downloads=True, **{"locale": "en-GB", **context})
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda told: told.type == "error" and self.errors.append(told.text))
        self.page.goto(url)
        self.ready()
        self.page.locator("#live").set_checked(live)

    def ready(self) -> None:
        self.page.wait_for_selector("body[data-ready]")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The middle of a pixel of the mask, in the window."""
        self.page.locator("#canvas").scroll_into_view_if_needed()
        box = self.page.locator("#canvas").bounding_box()
        return box["x"] + (x + 0.5) * box["width"] / WIDTH, box["y"] + (y + 0.5) * box["height"] / HEIGHT

    def drag(self, *points: tuple[float, float], steps: int = 1) -> None:
        mouse = self.page.mouse
        mouse.move(*self.place(*points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.place(*point), steps=steps)
        mouse.up()

    def choose(self, tool: str = "brush", name: str | None = None, size: int | None = None) -> None:
        self.page.click(f"#tools [data-key={tool}]")
        if name:
            self.page.click(f"#classes [data-key='{CLASS_NAMES.index(name)}']")
        if size:
            self.page.locator("#size").fill(str(size))

    def mask(self) -> np.ndarray:
        """The mask as the page saves it."""
        with self.page.expect_download() as download:
            self.page.click("#download-mask")
        image = Image.open(download.value.path())
        assert (image.format, image.mode) == ("PNG", "L")
        return np.array(image)

    def results(self) -> int:
        return self.page.locator("#gallery li").count()

    def wait_for_results(self, count: int) -> None:
        self.expect("#gallery li").to_have_count(count, timeout=60_000)

    def expect(self, selector: str):
        """What is to be seen soon."""
        return sync_api.expect(self.page.locator(selector))


@pytest.fixture
def open_tab(browser, painter_url) -> Iterator:
    """Opens tabs, and sees at the end that they spoke with the painter alone and met no error."""
    tabs = []

    def opened(**options) -> Tab:
        tabs.append(Tab(browser, painter_url, **options))
        return tabs[-1]

    yield opened
    for tab in tabs:
        tab.context.close()
        hosts = {urlsplit(url).netloc for url in tab.requests if not url.startswith("blob:")}
        assert hosts == {urlsplit(painter_url).netloc}
        assert all(url.startswith((painter_url, f"blob:{painter_url[:-1].rsplit('/', 1)[0]}")) for url in tab.requests)
        assert tab.errors == []


@pytest.fixture
def tab(open_tab) -> Tab:
    return open_tab()


class TestPainting:
    def test_a_stroke_of_3_pixels_holds_its_class_and_nothing_between(self, tab):
        tab.choose("brush", "tree", size=3)
        tab.drag((10, 20), (40, 20))
        expected = np.full((HEIGHT, WIDTH), SKY, np.uint8)
        expected[20, 9:42] = expected[19, 10:41] = expected[21, 10:41] = TREE

        assert np.array_equal(tab.mask(), expected)

    def test_a_slanting_stroke_has_two_ids(self, tab):
        tab.choose("brush", "sea", size=3)
        tab.drag((5, 5), (50, 31), (7, 44), steps=7)

        assert set(np.unique(tab.mask())) == {SKY, SEA}

    def test_a_square_brush_of_1_pixel_paints_that_pixel(self, tab):
        tab.choose("brush", "tree", size=1)
        tab.page.click("#shape")
        tab.drag((63, 47))

        assert np.argwhere(tab.mask() != SKY).tolist() == [[47, 63]]

    def test_the_button_may_be_let_go_outside(self, tab):
        tab.choose("brush", "tree", size=1)
        tab.drag((50, 10), (80, 10), (80, 30), (50, 30), (50, -20))
        once = tab.mask()
        tab.page.mouse.move(*tab.place(10, 40))  # the button is up: this paints nothing
        tab.page.mouse.move(*tab.place(20, 40))
        expected = np.full((HEIGHT, WIDTH), SKY, np.uint8)
        expected[10, 50:] = expected[30, 50:] = expected[:31, 50] = TREE

        assert np.array_equal(once, expected) and np.array_equal(tab.mask(), expected)
        tab.page.click("#undo")
        assert tab.page.locator("#undo").is_disabled() and (tab.mask() == SKY).all()

    def test_rectangle_line_bucket_eraser_and_pick(self, tab):
        expected = np.full((HEIGHT, WIDTH), SKY, np.uint8)
        tab.choose("rectangle", "sea")
        tab.drag((10, 10), (70, 5), (20, 30))
        expected[10:31, 10:21] = SEA
        tab.choose("line", "tree", size=1)
        tab.drag((0, 40), (30, 5), (63, 40))
        expected[40] = TREE
        tab.choose("bucket", "sand")
        tab.drag((5, 45))
        expected[41:] = CLASS_NAMES.index("sand")
        tab.page.select_option("#background", str(CLASS_NAMES.index("lake")))
        tab.choose("eraser", size=1)
        tab.drag((3, 3), (6, 3))
        expected[3, 3:7] = CLASS_NAMES.index("lake")
        tab.choose("pick")
        tab.drag((15, 15))

        assert np.array_equal(tab.mask(), expected)
        assert tab.page.get_attribute(f"#classes [data-key='{SEA}']", "aria-checked") == "true"

    def test_undo_reaches_the_first_state_and_redo_the_last(self, tab):
        first = tab.mask()
        tab.choose("brush", "tree", size=9)
        for number in range(6):
            tab.drag((5 + 9 * number, 3), (9 * number, 44))
        tab.page.click("#masks button >> nth=0")
        tab.page.wait_for_load_state("networkidle")
        tab.choose("bucket", "sea")
        tab.drag((1, 1))
        last = tab.mask()
        for _ in range(8):
            tab.page.keyboard.press("Control+z")

        assert tab.mask().tobytes() == first.tobytes() and tab.page.locator("#undo").is_disabled()
        for _ in range(8):
            tab.page.keyboard.press("Control+y")
        assert tab.mask().tobytes() == last.tobytes() and tab.page.locator("#redo").is_disabled()

    def test_a_reload_keeps_the_drawing_and_the_settings(self, tab):
        tab.choose("brush", "tree", size=5)
        tab.drag((5, 5), (50, 40))
        before = tab.mask()
        tab.page.fill("#seed", "42")
        tab.page.click("#references [data-key=s9]")
        tab.page.reload()
        tab.ready()

        assert tab.mask().tobytes() == before.tobytes()
        assert tab.page.input_value("#seed") == "42"
        assert tab.page.get_attribute("#references [data-key=s9]", "aria-checked") == "true"

    def test_zoomed_in_a_stroke_lies_where_the_pointer_is(self, tab):
        tab.choose("brush", "tree", size=1)
        tab.page.mouse.move(*tab.place(1.5, 1.5))  # this point keeps its place
        for _ in range(4):
            tab.page.mouse.wheel(0, -100)
        tab.expect("#zoom-value").to_have_text("200 %")
        tab.drag((20.5, 10.5), (40.5, 10.5))

        assert np.argwhere(tab.mask() == TREE).tolist() == [[6, x] for x in range(11, 22)]

    def test_without_a_mouse(self, tab):
        tab.page.focus("#tools [aria-checked=true]")
        tab.page.keyboard.press("r")
        tab.page.focus("#classes [aria-checked=true]")
        for _ in range(SEA):
            tab.page.keyboard.press("ArrowRight")
        tab.page.focus("#canvas")
        tab.page.keyboard.press("Shift+ArrowLeft")
        tab.page.keyboard.press("Space")
        for key in ("ArrowRight", "ArrowRight", "Shift+ArrowDown", "Space"):
            tab.page.keyboard.press(key)
        expected = np.full((HEIGHT, WIDTH), SKY, np.uint8)
        expected[24:35, 22:25] = SEA

        assert np.array_equal(tab.mask(), expected)
        assert tab.page.inner_text("#spoken") == "Column 24, row 34, sea"

    def test_two_fingers_zoom_and_draw_nothing(self, open_tab):
        tab = open_tab(has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740})
        session = tab.context.new_cdp_session(tab.page)

        def touch(kind, *points):
            places = [dict(zip("xy", tab.place(*point)), id=number) for number, point in enumerate(points)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

        touch("touchStart", (30, 20))
        touch("touchStart", (30, 20), (40, 20))
        touch("touchMove", (20, 20), (50, 20))
        touch("touchEnd")
        assert (tab.mask() == SKY).all() and tab.page.inner_text("#zoom-value") != "100 %"
        tab.page.click("#zoom-fit")
        tab.choose("brush", "tree", size=1)
        touch("touchStart", (5, 6))
        touch("touchMove", (15, 6))
        touch("touchEnd")
        assert np.argwhere(tab.mask() == TREE).tolist() == [[6, x] for x in range(5, 16)]


class TestFiles:
    def test_an_uploaded_mask_is_painted_on_in_its_own_size(self, tab, tmp_path):
        mask = landscape(1, Size(60, 90), seed=3)[1]
        save_png(tmp_path / "mine.png", mask)
        tab.page.set_input_files("#upload-mask", tmp_path / "mine.png")
        tab.expect("#under").to_have_text("90×60")

        assert np.array_equal(tab.mask(), mask)

    def test_a_bad_upload_is_told_and_changes_nothing(self, tab, tmp_path):
        save_png(tmp_path / "colour.png", np.zeros((48, 64, 3), np.uint8))
        tab.page.set_input_files("#upload-mask", tmp_path / "colour.png")
        tab.page.wait_for_selector("#error:visible")

        assert "mode RGB" in tab.page.inner_text("#error-text") and (tab.mask() == SKY).all()
        tab.errors.clear()  # the browser notes the refusal

    def test_an_uploaded_photo_becomes_the_reference(self, tab, tmp_path):
        save_jpeg(tmp_path / "photo.jpg", landscape(2, Size(60, 90), seed=3)[0])
        tab.page.set_input_files("#upload-reference", tmp_path / "photo.jpg")
        tab.page.wait_for_selector("#references [data-key^=u][aria-checked=true]")
        tab.page.click("#generate")
        tab.wait_for_results(1)


class TestGenerating:
    def test_a_stroke_becomes_a_preview_and_an_image(self, open_tab):
        tab = open_tab(live=True)
        tab.page.locator("#steps").fill("50")
        tab.choose("brush", "sea", size=20)
        tab.drag((5, 40), (60, 40))
        tab.expect("#result").to_have_attribute("src", re.compile("^previews/"))
        tab.wait_for_results(1)
        tab.expect("#result").to_have_attribute("src", re.compile("image.jpg$"))
        size = tab.page.locator("#result").evaluate(
            "(image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
        )

        assert size == [WIDTH, HEIGHT]
        assert re.fullmatch(r"Done after \d+\.\d s", tab.page.inner_text("#status"))

    def test_a_new_stroke_cancels(self, open_tab):
        tab = open_tab(live=True)
        tab.page.locator("#steps").fill("50")
        tab.choose("brush", "sea", size=20)
        tab.drag((5, 40), (60, 40))
        tab.expect("#progress").to_have_attribute("value", re.compile("^0[.]"))
        tab.drag((5, 10), (60, 10))
        tab.wait_for_results(1)
        tab.page.wait_for_timeout(300)

        assert tab.results() == 1

    def test_the_seed_changes_where_nothing_else_does_unless_it_is_locked(self, tab):
        tab.page.click("#generate")
        tab.wait_for_results(1)
        assert tab.page.input_value("#seed") == "0"
        tab.page.check("#lock")
        tab.page.click("#generate")
        tab.wait_for_results(2)
        assert tab.page.input_value("#seed") == "0"
        tab.page.uncheck("#lock")
        tab.page.click("#generate")
        tab.wait_for_results(3)
        assert tab.page.input_value("#seed") != "0"

    def test_two_tabs_each_get_their_own(self, open_tab):
        tabs = [open_tab(), open_tab()]
        for tab, name in zip(tabs, ("sea", "tree")):
            tab.choose("bucket", name)
            tab.drag((5, 5))
            tab.page.click("#generate")
        for tab, id in zip(tabs, (SEA, TREE)):
            tab.wait_for_results(1)
            assert (tab.mask() == id).all()

    def test_a_result_can_be_painted_on_after_a_reload(self, tab):
        tab.choose("bucket", "sea")
        tab.drag((5, 5))
        tab.page.fill("#seed", "5")
        tab.page.click("#generate")
        tab.wait_for_results(1)
        tab.choose("bucket", "tree")
        tab.drag((5, 5))
        tab.page.fill("#seed", "6")
        tab.page.reload()
        tab.ready()
        tab.page.click("#gallery li div button")
        tab.expect("#undo").to_be_enabled()

        assert (tab.mask() == SEA).all() and tab.page.input_value("#seed") == "5"


class TestEveryone:
    @pytest.mark.parametrize("locale, width", [("en-GB", 1440), ("zh-CN", 1000), ("zh-CN", 360), ("en-GB", 360)])
    def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_window(self, open_tab, locale, width):
        tab = open_tab(locale=locale, viewport={"width": width, "height": 800})
        tab.page.click("#generate")
        tab.wait_for_results(1)
        found = axe.Axe().run(tab.page).response["violations"]

        assert [
            (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
        ] == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width

    def test_the_language_is_the_browsers_until_it_is_switched(self, open_tab):
        tab = open_tab(locale="zh-CN")
        assert tab.page.inner_text("#generate") == "生成" and tab.page.get_attribute("html", "lang") == "zh-CN"
        tab.page.click("#language")
        assert tab.page.inner_text("#generate") == "Generate"
        tab.page.reload()
        tab.ready()
        assert tab.page.inner_text("#generate") == "Generate" and tab.page.get_attribute("html", "lang") == "en"

    def test_every_text_has_both_languages(self, tab):
        english, chinese = tab.page.evaluate(
            "import('./words.js').then(({WORDS}) => ['en', 'zh'].map((each) => "
            "Object.fromEntries(Object.entries(WORDS[each]).map(([key, text]) => [key, String(text)]))))"
        )
        places = {key: re.findall(r"{\w+}", text) for key, text in english.items()}

        assert english.keys() == chinese.keys()
        assert {key: sorted(re.findall(r"{\w+}", text)) for key, text in chinese.items()} == {
            key: sorted(found) for key, found in places.items()
        }
        assert set(tab.page.evaluate("import('./words.js').then(({WORDS}) => Object.keys(WORDS.zh.names))")) == set(
            CLASS_NAMES
        )

"""The page in a real browser: it answers to the reader, and to nobody else."""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.page.conftest import Browser
from tests.unit import page_factory as made

LOAD_S = 2.0
"""What the page may take to load with 2,000 cases."""

SLOW = 5
"""By how much a machine that is busy with other work may be slower than an idle one."""

PHONE = 390
"""Width of a common phone in CSS pixels."""


def small(folder: Path) -> Path:
    return made.make_page(
        folder,
        findings=[made.FINDING],
        choices=[made.CHOICE, made.CHOICE | {"rank": 2, "meets": False, "misses": "too slow"}],
        campaigns=("lambda-2022-10",),
        advice=made.advice_rows(),
    )


def empty(folder: Path) -> Path:
    return made.make_page(folder, rows=[], images=False)


def one_row(folder: Path) -> Path:
    return made.make_page(folder, rows=made.default_rows()[:1])


def all_failed(folder: Path) -> Path:
    return made.make_page(folder, rows=made.failed_rows())


def many(folder: Path) -> Path:
    return made.make_page(folder, rows=made.many_rows(2000), campaigns=("lambda-2022-10",))


def gated(folder: Path) -> Path:
    rows = made.default_rows()
    for row in rows:
        row["passes_gate"] = row["precision"] != "bf16"
    return made.make_page(folder, rows=rows)


MAKERS = (small, empty, one_row, all_failed, many, made.page_of_models, made.hostile_page)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """Pages by what makes them, each made once."""
    return functools.cache(lambda maker: maker(tmp_path_factory.mktemp("page")))


@pytest.fixture
def page(browser: Browser, pages: Callable[[Any], Path]) -> Browser:
    """The small page, open and whole."""
    browser.open_whole(pages(small))
    return browser


Pages = Callable[[Any], Path]


@pytest.mark.parametrize("maker", MAKERS)
def test_no_error_and_no_request(browser: Browser, pages: Pages, maker: Any) -> None:
    path = pages(maker)
    browser.open_whole(path)
    assert browser.errors() == []
    assert browser.requests() == [path.as_uri()]


@pytest.mark.parametrize(("maker", "width"), [(small, PHONE), *((maker, 320) for maker in MAKERS)])
def test_a_phone_scrolls_one_way_only(
    browser: Browser, pages: Pages, maker: Any, width: int
) -> None:
    browser.open_whole(pages(maker), width)
    assert browser.script("return document.documentElement.scrollWidth") <= width


def test_it_loads_soon_with_two_thousand_cases(
    browser: Browser, pages: Pages, record_property: Callable[..., None]
) -> None:
    browser.open(pages(many))
    loaded = browser.wait(
        "const [timing] = performance.getEntriesByType('navigation');"
        "return timing.loadEventEnd > 0 && timing.loadEventEnd / 1000"
    )
    ready = browser.script("return performance.getEntriesByName('ready')[0].startTime / 1000")
    record_property("loaded_s", loaded)
    assert max(loaded, ready) < SLOW * LOAD_S, f"loaded after {loaded} s, ready after {ready} s"


def shown(page: Browser) -> str:
    return page.find("#count").text


def counted(page: Browser, said: str) -> None:
    """Wait until so many rows are said to pass the filters."""
    page.wait(f"return document.getElementById('count').textContent.startsWith('{said}')")


def choose(page: Browser, form: str, control: str, value: str) -> None:
    """Set a control as a reader would who has chosen: `value` is an assignment to it."""
    page.script(
        f"const control = document.forms.{form}.elements.{control};"
        f"control.{value}; for (const kind of ['input', 'change'])"
        "control.dispatchEvent(new Event(kind, {bubbles: true}))"
    )


def hover_first_mark(page: Browser) -> str:
    """Return what is shown of the first mark of a chart where the pointer is on it."""
    mark = page.find("#chart-time .mark-symbol path")
    page.script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(page.driver).move_to_element(mark).perform()
    page.wait("return document.querySelector('#vg-tooltip-element.visible') !== null")
    return page.find("#vg-tooltip-element").text


MARKS = "return document.querySelectorAll('#chart-time .mark-symbol path').length"


def test_a_filter_reaches_charts_and_table(page: Browser) -> None:
    assert page.all("#question") == [], "one model is no question"
    assert len(seen(page, "#answer .cards")) == 1
    assert shown(page) == "9 of 67 rows pass the filters"
    assert page.script(MARKS) == 3
    page.find("fieldset[data-name=precision] input[value=bf16]").send_keys(Keys.SPACE)
    counted(page, "6 of 67")
    assert column(page, 3) == ["fp32"] * 6
    page.wait(f"{MARKS} === 2")
    page.find("#filters button[type=reset]").send_keys(Keys.ENTER)
    counted(page, "9 of 67")
    page.wait(f"{MARKS} === 3")
    text = hover_first_mark(page)
    assert "AMD EPYC 7B13 (cpu)" in text and "s per call" in text


def test_what_misses_the_gate_can_be_hidden(browser: Browser, pages: Pages) -> None:
    browser.open(pages(gated))
    assert shown(browser) == "9 of 9 rows pass the filters"
    browser.find("#filters input[name=gate]").send_keys(Keys.SPACE)
    counted(browser, "6 of 9")


def test_what_was_generated_can_be_chosen(page: Browser) -> None:
    choose(page, "filters", "condition", "selectedIndex = 2")
    counted(page, "58 of 67")
    # Published marks are hollow, and each device has its line.
    page.wait(f"{MARKS} > 10")
    opacities = page.script(
        "return [...document.querySelectorAll('#chart-time .mark-symbol path')]"
        ".map((mark) => mark.getAttribute('fill-opacity'))"
    )
    assert set(opacities) == {"0"}
    boxes = seen(page, "fieldset[data-name=device] label")
    assert "RTX 3090" in boxes and "AMD EPYC 7B13 (cpu)" not in boxes


@pytest.fixture
def models(browser: Browser, pages: Pages) -> Browser:
    """The page of several models, open and whole."""
    browser.open_whole(pages(made.page_of_models))
    return browser


def seen(page: Browser, selector: str) -> list[str]:
    return [found.text for found in page.all(selector) if found.is_displayed()]


def test_the_model_is_asked_for_first(models: Browser) -> None:
    first = models.find("#answer").find_element(By.CSS_SELECTOR, "input, select, button, summary")
    assert first.get_attribute("id") == "model"
    assert first.accessible_name.startswith("Which model?")
    options = [option.text for option in models.all("#model option")]
    assert options == ["shapes", "sdxl", "sd-v1 and sd-v1-4", "flux.1-dev"]
    assert first.get_attribute("value") == "shapes"


def test_the_answer_the_charts_and_the_rows_follow_the_model(models: Browser) -> None:
    numbers = {}
    # By key, as one that cannot point does.
    for model, count in (("shapes", 9), ("sdxl", 9), ("Stable Diffusion v1", 18)):
        choice = models.find("#model")
        assert choice.get_attribute("value") == model
        counted(models, f"{count} of")
        (numbers[model],) = seen(models, "#answer .cards")
        groups = seen(models, "#answer summary")
        assert groups and all(model in group for group in groups)
        models.wait(f"{MARKS} === {count // 3}")
        cells = models.script(
            "return [...document.querySelectorAll('#table tbody tr')].map((r) => r.textContent)"
        )
        assert len(cells) == count
        conditions = [o.text for o in models.all("#filters select option") if o.is_enabled()]
        assert all(model in text for text in conditions[1:])
        choice.send_keys(Keys.ARROW_DOWN)
    assert len(set(numbers.values())) == 3
    # Of the last one nothing ran, and that is said.
    assert seen(models, "#answer .cards") == []
    words = seen(models, "#answer .words")
    assert any("No case ran" in text for text in words)
    assert "The table of choices has no settings of flux.1-dev." in words
    assert models.errors() == []


def test_published_rows_follow_their_family_and_a_reset_keeps_the_model(models: Browser) -> None:
    Select(models.find("#model")).select_by_visible_text("sd-v1 and sd-v1-4")
    counted(models, "18 of 76")
    # Then those of another are shown, and that is said.
    assert "no images of this model" in " ".join(seen(models, "#images .words")).lower()
    assert stage(models)
    # By hand a word must be typed within a second of its beginning.
    Select(models.find("#model")).select_by_visible_text("shapes")
    counted(models, "9 of 9 ")
    assert stage(models)
    models.find("#model").send_keys("sdxl")
    models.wait("return document.getElementById('model').value === 'sdxl'")
    models.find("fieldset[data-name=precision] input[value=bf16]").send_keys(Keys.SPACE)
    counted(models, "6 of 9 ")
    models.find("#filters button[type=reset]").send_keys(Keys.ENTER)
    counted(models, "9 of 9 ")
    assert models.find("#model").get_attribute("value") == "sdxl"


def cards(page: Browser) -> list[str]:
    return [head.text.split("\n")[0] for head in page.all("#advice-table tbody th")]


def test_cards_are_ranked_by_what_is_needed(page: Browser) -> None:
    assert cards(page) == ["RTX 4090", "RTX 3090", "L4", "RTX 2060"]
    assert page.find("#advice-count").text == "3 of 4 cards have an answer"
    first, second, *_, last = page.all("#advice-table tbody tr")
    assert "1.28 published" in first.text
    assert "2.5 predicted" in second.text and "1.25 to 5" in second.text
    assert "it needs 39 GiB" in last.text
    # By key: from the batch size to the need, and what it is bounded by.
    Select(page.find("#advice [name=need]")).select_by_value("memory_gb")
    assert cards(page)[0] == "L4"
    assert "GB at most" in page.find("#advice .unit").text
    page.find("#advice [name=bound]").send_keys("3")
    assert cards(page) == ["L4"]
    assert page.find("#advice-count").text == "1 of 4 cards meet this"
    assert not Select(page.find("#advice [name=need]")).options[-1].is_enabled(), "no prices"


def test_what_is_asked_of_cards_can_be_linked_to(browser: Browser, pages: Pages) -> None:
    browser.open(pages(small), PHONE)
    Select(browser.find("#advice [name=model]")).select_by_value("sdxl")
    browser.find("#advice [name=name]").send_keys("rtx")
    hash = browser.script("return location.hash")
    assert hash.startswith("#cards?model=sdxl&size=512") and hash.endswith("&name=rtx")
    browser.script("location.hash = '#cards?model=sd-v1&batch=4&bound=5'")
    browser.wait("return document.querySelector('#advice [name=batch]').value === '4'")
    assert cards(browser) == ["RTX 4090"]
    browser.script(f"location.hash = '{hash}'")
    browser.wait("return document.querySelector('#advice [name=model]').value === 'sdxl'")
    assert cards(browser) == ["RTX 4090", "RTX 3090", "RTX 2060"]
    assert browser.errors() == []


def test_filters_that_leave_nothing_say_so(page: Browser) -> None:
    page.find("fieldset[data-name=device] input").send_keys(Keys.SPACE)
    counted(page, "0 of")
    page.wait("return document.getElementById('chart-time').hidden")
    assert seen(page, ".charts .words") == ["No row that passes the filters has these numbers."] * 3
    assert page.find("#table tbody").text == "No row passes the filters."
    page.find("#filters button[type=reset]").send_keys(Keys.ENTER)
    page.wait("return !document.getElementById('chart-time').hidden")


def column(page: Browser, number: int) -> list[str]:
    return [cell.text for cell in page.all(f"#table tbody td:nth-child({number})")]


def test_the_table_is_sorted_by_key_and_searched(page: Browser) -> None:
    heads = [head.text for head in page.all("#table thead th")]
    number = heads.index("s per call") + 1
    head = f"#table thead th:nth-child({number})"
    # Its own control, to which the tabulator key leads.
    page.find(f"{head} [tabindex='0']").send_keys(Keys.ENTER)
    page.wait(f"return document.querySelector('{head}').getAttribute('aria-sort') === 'ascending'")
    seconds = [float(text) for text in column(page, number)]
    assert len(seconds) == 9
    assert seconds == sorted(seconds)
    page.find("#cases input[type=search]").send_keys("ONNX")
    page.wait("return document.querySelectorAll('#table tbody tr').length === 3")
    assert set(column(page, 2)) == {"ONNX Runtime"}


def stage(page: Browser) -> str:
    return page.find(".stage").get_attribute("aria-label") or ""


def background(page: Browser, layer: str) -> tuple[str, str]:
    style = f"getComputedStyle(document.querySelector('.stage .{layer}'))"
    found = page.script(f"return [{style}.backgroundImage, {style}.backgroundPosition]")
    return found[0], found[1]


def test_the_slider_goes_through_the_steps(page: Browser) -> None:
    slider = page.find("#viewer input[name=step]")
    assert "After 10 steps: PSNR 40.0 dB" in stage(page)
    last = background(page, "left")
    slider.send_keys(Keys.HOME)
    assert "After 1 step: PSNR 31.0 dB" in stage(page)
    assert slider.get_attribute("aria-valuetext") == "After 1 step"
    assert background(page, "left")[0] == last[0], "the same sheet"
    assert background(page, "left")[1] != last[1], "and another place on it"
    slider.send_keys(Keys.ARROW_RIGHT)
    assert "After 2 steps" in page.find("#said").text
    # Another comparison begins at its last step.
    choose(page, "viewer", "series", "selectedIndex = 1")
    assert "After 12 steps" in stage(page)


def test_the_pairs_of_a_set_begin_with_the_worst(page: Browser) -> None:
    slider = page.find("#pairs-viewer input[name=step]")
    said = page.find("#pairs-said").text
    # Scores fall from place to place, so that the last of the set is the worst.
    assert said.startswith("“a green square on a white background”, seed 1, score 0.00")
    assert "PSNR 37.0 dB" in said and "Left of the wipe: reference" in said
    assert page.find("#pairs-viewer output[name=steps]").text == "1 of 4"
    slider.send_keys(Keys.END)
    assert "seed 0, score 1.00 (reference 1.00)" in page.find("#pairs-said").text
    assert "After 10 steps" in stage(page), "the other viewer stays where it is"


def test_the_wipe_uncovers_one_image_or_the_difference_under_the_other(page: Browser) -> None:
    wipe = page.find("#viewer input[name=wipe]")
    clip = "return getComputedStyle(document.querySelector('.stage .right')).clipPath"
    assert page.script(clip) == "inset(0px 0px 0px 50%)"
    for key, share in ((Keys.ARROW_RIGHT, 51), (Keys.END, 100)):
        wipe.send_keys(key)
        assert page.script(clip) == f"inset(0px 0px 0px {share}%)"
    # And by pointer, on the image.
    place = page.find(".stage")
    page.script("arguments[0].scrollIntoView({block: 'center'})", place)
    ActionChains(page.driver).move_to_element(place).click().perform()
    assert 48 <= float(page.script("return document.forms.viewer.elements.wipe.value")) <= 52
    left = background(page, "left")[0]
    assert left != background(page, "right")[0]
    choose(page, "viewer", "right", "value = 'difference'")
    assert "Right of it: difference, " in stage(page)
    sheet = background(page, "right")[0]
    assert sheet.startswith('url("data:image/webp')
    assert sheet != left


def test_a_hostile_name_is_text(browser: Browser, pages: Pages) -> None:
    browser.open_whole(pages(made.hostile_page))
    assert "onerror" in hover_first_mark(browser), "in a chart too"
    assert browser.script("return window.hacked") is None
    assert len(browser.all("img")) == 1
    assert browser.all("[onerror]") == []
    assert "onerror=" in browser.find("#table tbody td").text
    assert browser.errors() == []


def test_a_script_that_is_not_the_pages_own_does_not_run(page: Browser) -> None:
    """Were a name to come through as HTML, it could still do nothing."""
    page.script(
        "const script = document.createElement('script');"
        "script.textContent = 'window.hacked = 1'; document.body.append(script);"
        "document.body.insertAdjacentHTML('beforeend', '<p onclick=\"window.hacked = 1\" id=bad>');"
        "document.getElementById('bad').click();"
    )
    assert page.script("return window.hacked") is None
    policy = page.find("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy and "unsafe-eval" not in policy
    assert any("Content Security Policy" in error for error in page.errors())


def test_controls_images_landmarks_and_headings_are_named_and_in_order(page: Browser) -> None:
    named = page.all("input, select, button, [role=button], .stage, [role=region], nav, img")
    controls = [control for control in named if control.is_displayed()]
    assert len(controls) > 25
    for control in controls:
        assert control.accessible_name.strip(), control.get_attribute("outerHTML")
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(f"body > {landmark}")) == 1
    levels = page.script(
        "return [...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.script("return document.documentElement.lang") == "en"


def test_keys_and_links_lead_everywhere(browser: Browser, pages: Pages) -> None:
    browser.open(pages(small))
    # Before anything is scrolled to, from where Chromium would go on.
    ActionChains(browser.driver).send_keys(Keys.TAB).perform()
    link = browser.driver.switch_to.active_element
    assert link.text == "To the answer"
    assert link.is_displayed()
    link.send_keys(Keys.ENTER)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "answer"
    browser.open_whole(pages(small))
    unreachable = browser.script(
        "return [...document.querySelectorAll('main *')].filter((element) =>"
        " ['auto', 'scroll'].includes(getComputedStyle(element).overflowX)"
        " && element.scrollWidth > element.clientWidth && element.tabIndex < 0)"
        ".map((element) => element.outerHTML.slice(0, 100))"
    )
    assert unreachable == [], "what scrolls can be scrolled by key"
    browser.script("document.querySelector('.claim a').click()")
    at = browser.script("return document.activeElement.id || location.hash")
    assert at.removeprefix("#") == "figure-speed", "a finding leads to its figure"

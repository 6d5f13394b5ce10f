"""The app in a real browser: sending, choosing, sliding, drawing, downloading, errors, hostile names, small screens."""

from __future__ import annotations

import json

import pytest
from axe import serious_findings
from browser import chromium
from report_run import HOSTILE
from served_app import hostile_engine, picture_file, served, shipped_engine

END, HOME, RIGHT = "\ue010", "\ue011", "\ue014"  # keys
WAIT = 120  # seconds for an answer on a busy machine


@pytest.fixture(scope="module")
def engine():
    return shipped_engine()


@pytest.fixture(scope="module")
def url(engine):
    with served(engine) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def picture(engine, tmp_path_factory):
    return picture_file(engine, 0, tmp_path_factory.mktemp("sent") / "<img src=x onerror=alert(1)>.png")


@pytest.fixture(scope="module")
def page(browser, url, picture):
    """The app with a picture that was explained towards the mass."""
    opened(browser, url)
    send(browser, picture)
    choose(browser, "Towards", "mass")
    choose(browser, "Reference", "nearest")
    run(browser, NOTE_PROGRESS)
    press(browser, "Explain")
    wait(browser, f"return {ANSWER}.endsWith('the answer is mass.')")
    wait(browser, "return document.querySelector('img[src*=\"/file=\"]') !== null")
    return browser


# what stood in progress bars is kept for a look afterwards
NOTE_PROGRESS = """
window.progress = [];
new MutationObserver(() => {
  for (const bar of document.querySelectorAll('.progress-level-inner')) window.progress.push(bar.textContent.trim());
}).observe(document.body, {subtree: true, childList: true, characterData: true});
"""
ANSWER = (
    "([...document.querySelectorAll('label')].find(l => l.textContent.trim() === 'Answer')"
    "?.querySelector('textarea').value ?? '')"
)


CLASSES_SHOWN = (
    "[...document.querySelectorAll('.output-class')].filter(e => e.offsetParent).map(e => e.textContent.trim())"
)


def opened(browser, url: str, width: int = 1280, dark: bool = False) -> None:
    browser.get("about:blank")
    for kind in ("browser", "performance"):  # of the page that was open before, whose questions were broken off
        browser.get_log(kind)
    resized(browser, width)
    browser.get(f"{url}/?__theme={'dark' if dark else 'light'}")
    wait(browser, "return document.querySelector('input[type=file]') !== null && document.readyState === 'complete'")
    wait(browser, f"return {button('Explain')} !== undefined")


def resized(browser, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )


def run(browser, script: str, *values):
    return browser.execute_script(script, *values)


def wait(browser, script: str, *values):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, WAIT, 0.1).until(lambda page: page.execute_script(script, *values))


def button(words: str) -> str:
    return f"[...document.querySelectorAll('button')].find(b => b.textContent.trim() === {json.dumps(words)})"


def press(browser, words: str) -> None:
    run(browser, f"{button(words)}.click()")


def tab(browser, words: str) -> None:
    run(browser, f"[...document.querySelectorAll('[role=tab]')].find(b => b.textContent.trim() === '{words}').click()")


def send(browser, path) -> None:
    browser.find_element("css selector", "input[type=file]").send_keys(str(path))
    wait(browser, "return document.querySelector('.file-preview') !== null")


def choose(browser, label: str, value: str) -> None:
    """An entry of a drop-down list, chosen by typing."""
    from selenium.webdriver.common.keys import Keys

    field = browser.find_element("css selector", f"input[aria-label='{label}']")
    field.click()
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(value, Keys.ENTER)
    wait(browser, f"return document.querySelector(\"input[aria-label='{label}']\").value === arguments[0]", value)


def slide(browser, label: str, *keys: str) -> None:
    """Move a slider by keys."""
    field = browser.find_element("css selector", f"input[type=range][aria-label*='{label}']")
    run(browser, "arguments[0].scrollIntoView({block: 'center'})", field)
    field.send_keys(*keys)


def bars(browser) -> list[str]:
    """What the lists of probabilities say that are to be seen."""
    return run(
        browser,
        "return [...document.querySelectorAll('.confidence-set')].filter(e => e.offsetParent)"
        ".map(e => e.textContent.replace(/\\s+/g, ' ').trim())",
    )


def check_silence(browser, url: str) -> None:
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert [place for place in asked if not place.startswith((url, "data:", "blob:", "chrome:"))] == []


def test_a_progress_bar_says_what_is_being_done(page):
    assert any("searching along the path" in words for words in run(page, "return window.progress"))


def test_the_slider_along_the_path_changes_both_answers(page):
    """The path stands at its end first: each wait is for what only the last key can bring."""
    slide(page, "Position on the path", HOME)
    wait(page, f"return {CLASSES_SHOWN}.slice(0, 2).join() === 'healthy,healthy'")  # the classifier and the oracle
    start = bars(page)
    slide(page, "Position on the path", END)
    wait(page, f"return {CLASSES_SHOWN}.slice(0, 2).join() === 'mass,mass'")
    end = bars(page)
    assert len(start) == len(end) == 6
    assert start[:3] != end[:3]  # the classifier
    assert start[3:] != end[3:]  # the oracle


def test_axes_of_the_class_code_are_slid_by_hand(page):
    tab(page, "Move the class code by hand")
    slide(page, "axis 1", RIGHT)
    wait(page, f"return {CLASSES_SHOWN}.slice(2).join() === 'healthy,healthy'")  # what classifier and oracle say
    slide(page, "axis 1", HOME)
    wait(page, f"return {CLASSES_SHOWN}.slice(2).join() === 'cyst,cyst'")


def test_a_region_that_is_drawn_is_asked_about(page):
    from selenium.webdriver.common.action_chains import ActionChains

    tab(page, "Ask about a region")
    canvas = wait(
        page, "return [...document.querySelectorAll('canvas')].find(c => c.offsetParent && c.clientWidth > 200)"
    )
    run(page, "arguments[0].scrollIntoView({block: 'center'})", canvas)
    strokes = ActionChains(page, duration=50)
    for offset in (-60, -30, 0, 30):
        strokes.move_to_element_with_offset(canvas, -80, offset).click_and_hold().move_by_offset(160, 0).release()
    strokes.perform()
    press(page, "What does the change do here?")
    said = wait(
        page,
        "return [...document.querySelectorAll('textarea')].map(t => t.value).find(v => v.includes('in the region'))",
    )
    assert "The change there alone: the classifier sees" in said
    assert "the oracle sees" in said


def test_a_map_is_computed_by_the_explainer_that_is_chosen(page):
    tab(page, "Maps")
    choose(page, "Explainer", "gradcam")
    press(page, "Explain by it")
    wait(page, "return [...document.querySelectorAll('textarea')].some(t => t.value.startsWith('gradcam for healthy'))")


def test_the_files_of_traverse_are_offered(page):
    tab(page, "Download")
    press(page, "The files that traverse writes")
    wait(page, "return [...document.querySelectorAll('a[download]')].some(a => a.href.includes('safetensors'))")
    names = run(page, "return [...document.querySelectorAll('a[download]')].map(a => a.getAttribute('download'))")
    assert {name.rpartition(".")[2] for name in names} >= {"png", "gif", "safetensors"}


def test_the_page_reports_no_error_and_asks_nobody_else(page, url):
    check_silence(page, url)


def test_a_file_that_is_no_picture_is_refused_in_words(browser, url, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"<script>alert(1)</script>")
    opened(browser, url)
    send(browser, tmp_path / "broken.png")
    press(browser, "Explain")
    wait(browser, "return document.querySelector('.toast-body')?.textContent.includes('cannot be read as a picture')")


def test_nothing_reaches_over_the_edge_of_a_screen(browser, url):
    opened(browser, url)
    for width in (360, 1024, 1920):
        resized(browser, width)
        assert run(browser, "return document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_names_that_mean_harm_are_shown_as_text(browser, tmp_path):
    engine = hostile_engine(HOSTILE, "<script>document.title='pwned'<∕script> \u202eשלום 🧠")
    with served(engine) as url:
        opened(browser, url, 360)
        send(browser, picture_file(engine, 0, tmp_path / "<b>a.png"))
        press(browser, "Explain")
        wait(browser, f"return {ANSWER}.includes('the answer is')")
        assert HOSTILE[0] in run(browser, "return document.body.innerText")
        assert run(browser, "return document.documentElement.scrollWidth <= innerWidth")
        assert run(browser, "return document.querySelectorAll('img[src=x]').length") == 0
        assert browser.title != "pwned"
        check_silence(browser, url)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(browser, url, dark):
    opened(browser, url, dark=dark)
    # Gradio's place-holders of empty pictures bear a label without a role
    assert serious_findings(browser, left_out=".empty") == {}

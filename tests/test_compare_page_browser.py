"""The page of a comparison in a headless Chromium: it draws, sorts, filters, fits and can be read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import HOSTILE, comparison

from semisup.compare.page import html, write
from semisup.compare.record import Comparison, Failure

BROWSER = "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
BROWSER += " --disable-component-update --disable-sync"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium."""

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium with its chromedriver; on Debian type apt-get install -y chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*BROWSER.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def shown(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Opens the page of a comparison at a width, in light or dark, and returns the browser."""

    def show(found: Comparison, width: int = 1200, dark: bool = False) -> Any:
        path = write(found, tmp_path_factory.mktemp("page"))
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(path.as_uri())
        return browser

    return show


def texts(browser: Any, table: str, column: int) -> list[str]:
    """The cells of a column that are shown."""
    script = """return [...document.querySelectorAll(`#table-${arguments[0]} tbody tr`)]
        .filter((row) => !row.hidden).map((row) => row.cells[arguments[1]].textContent)"""
    return list(browser.execute_script(script, table, column))


def drawn(browser: Any) -> dict[str, int]:
    """Chart -> means that it shows."""
    script = """return Object.fromEntries([...document.querySelectorAll(".chart")].map((chart) =>
        [chart.dataset.chart, chart.querySelectorAll(".stage .mean, .stage .bar").length]))"""
    return dict(browser.execute_script(script))


def test_it_draws_every_chart_without_an_error_or_a_request(shown: Any) -> None:
    browser = shown(comparison())
    # 3 arms with 2 numbers of labels, 2 of them with a gain; 3 classes; 5 epochs; 2 rounds; 10 bins.
    expected = {"accuracy": 6, "gain": 4, "classes": 6, "curves": 15, "rounds": 4}
    expected |= {"balance": 6, "confidence": 20, "calibration": 6, "cost": 6}
    assert drawn(browser) == expected
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)") == []


def test_a_click_sorts_and_another_turns_it_round(shown: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    found = comparison()
    browser = shown(found)
    header = browser.find_elements(By.CSS_SELECTOR, "#table-runs th")[4]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", header)
    header.find_element(By.TAG_NAME, "button").click()
    rising = [f"{100 * run.scores['best/test_accuracy']:.2f}" for run in found.runs]
    rising.sort(key=float)
    assert texts(browser, "runs", 4) == rising
    assert header.get_attribute("aria-sort") == "ascending"
    header.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)  # the keyboard does it as well
    assert texts(browser, "runs", 4) == rising[::-1]
    assert header.get_attribute("aria-sort") == "descending"
    other = browser.find_elements(By.CSS_SELECTOR, "#table-runs th")[0]
    browser.execute_script("arguments[0].querySelector('button').click()", other)
    assert texts(browser, "runs", 0) == sorted(run.arm for run in found.runs)
    assert header.get_attribute("aria-sort") is None


def test_empty_places_come_last_in_both_directions(shown: Any) -> None:
    found = comparison()
    found.runs[-1].rounds[-1] = replace(found.runs[-1].rounds[-1], precision=None)
    browser = shown(found)
    click = "document.querySelectorAll('#table-pseudolabels th button')[5].click()"
    for _ in range(2):
        browser.execute_script(click)
        assert texts(browser, "pseudolabels", 5)[-1] == "-"


def test_the_filter_leaves_what_is_chosen(shown: Any) -> None:
    browser = shown(comparison())
    click = "document.querySelector(`.filter input[value='${arguments[0]}']`).click()"
    browser.execute_script(click, "pseudolabel")
    assert set(texts(browser, "runs", 0)) == {"supervised", "fixmatch"}
    assert drawn(browser)["accuracy"] == 4
    browser.execute_script(click, "100")
    assert set(texts(browser, "runs", 1)) == {"40"}
    assert drawn(browser)["gain"] == 1
    shown_columns = "return [...document.querySelectorAll('#table-accuracy th')].filter((th) => !th.hidden).length"
    assert browser.execute_script(shown_columns) == 3
    assert set(texts(browser, "accuracy", 1)) == {"best"}
    browser.execute_script(click, "last")
    assert set(texts(browser, "accuracy", 1)) == {"last"}
    browser.execute_script(click, "fixmatch")
    assert "Nothing of this is chosen above." in browser.execute_script(
        "return document.querySelector('[data-chart=gain]').textContent"
    )
    assert browser.get_log("browser") == []


def test_pointer_and_keys_read_a_charts_values(shown: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    found = comparison()
    browser = shown(found)
    chart = browser.find_element(By.CSS_SELECTOR, "[data-chart=accuracy]")
    svg, tip = chart.find_element(By.CSS_SELECTOR, ".stage svg"), chart.find_element(By.CLASS_NAME, "tip")
    said = [f"{arm.name}: {100 * found.cell(arm.name, 40, 'best').mean:.1f} %" for arm in found.arms]  # type: ignore[union-attr]
    ActionChains(browser).move_to_element_with_offset(svg, -300, 0).perform()
    assert tip.is_displayed()
    assert tip.text.startswith("40 labels")
    assert all(one in tip.text for one in said)
    svg.send_keys(Keys.ARROW_RIGHT)
    assert tip.text.startswith("100 labels")
    svg.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


def test_a_chart_of_one_number_of_labels_lets_it_be_chosen(shown: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    browser = shown(comparison(labels=[40, 100, None]))
    select = Select(browser.find_element(By.CSS_SELECTOR, "[data-chart=classes] select"))
    assert [option.text for option in select.options] == ["40", "100", "all"]
    select.select_by_visible_text("all")
    assert drawn(browser)["classes"] == 6


def test_a_command_is_copied_as_it_was_typed(shown: Any) -> None:
    from selenium.webdriver.common.by import By

    found = comparison(command="semisup compare  --data 'my pictures'")
    browser = shown(found)
    button = browser.find_element(By.CSS_SELECTOR, "#reproduce > .command .copy")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert browser.execute_script("return getSelection().toString()") == found.command
    assert browser.execute_script("return arguments[0].previousElementSibling.textContent", button) == found.command


def contrasts(browser: Any) -> tuple[list[float], dict[str, float]]:
    """The brightness, from 0 to 255, of what texts stand on, and the contrast of every pair of colours of theirs."""
    script = """
        const dot = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        const rgb = (colour) => {
          dot.fillStyle = colour;
          dot.fillRect(0, 0, 1, 1);
          return [...dot.getImageData(0, 0, 1, 1).data];
        };
        const clear = (colour) => colour === "rgba(0, 0, 0, 0)" || colour === "transparent";
        const found = {};
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
          let one = walker.currentNode.parentElement;
          const text = walker.currentNode.data.trim() && !["SCRIPT", "NOSCRIPT"].includes(one.tagName);
          if (!text || !one.checkVisibility()) continue;
          const style = getComputedStyle(one), ink = one.closest("svg") ? style.fill : style.color;
          while (one !== document.body && clear(getComputedStyle(one).backgroundColor)) one = one.parentElement;
          const ground = getComputedStyle(one).backgroundColor;
          found[`${ink} on ${ground}`] = [rgb(ink), rgb(ground)];
        }
        return found"""
    found = browser.execute_script(script)

    def luminance(colour: list[int]) -> float:
        share = np.array(colour[:3]) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    contrast = {}
    for name, colours in found.items():
        low, high = sorted(luminance(colour) for colour in colours)
        contrast[name] = (high + 0.05) / (low + 0.05)
    return [float(np.mean(ground[:3])) for _, ground in found.values()], contrast


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read(shown: Any, dark: bool) -> None:
    """WCAG 2.2, success criterion 1.4.3: a contrast of 4.5 at least, of every text that is shown."""
    grounds, contrast = contrasts(shown(comparison(notes=["A note."]), dark=dark))
    assert len(contrast) >= 4 and all((ground < 60) == dark for ground in grounds)
    assert min(contrast.values()) >= 4.5, contrast


def test_the_button_changes_to_dark_and_back(shown: Any) -> None:
    browser = shown(comparison())
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(ground)
    browser.execute_script("document.getElementById('theme').click()")
    assert browser.execute_script(ground) != light
    browser.execute_script("document.getElementById('theme').click()")
    assert browser.execute_script(ground) == light


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_is_no_wider_than_the_screen(shown: Any, width: int) -> None:
    long = "a-class-with-a-name-of-no-reasonable-length-" * 3
    names = ["supervised", "pseudolabel (rule top_k_per_class, threshold 0.95, soft True)", "fixmatch"]
    found = comparison(
        names, classes=["cat", long, "owl"], notes=[long * 3], failures=[Failure(long, 1, long, long, long)]
    )
    browser = shown(found, width)
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = """return [...document.querySelectorAll("main *, header *")]
        .filter((one) => !one.closest(".scroll, .stage svg") && one.getBoundingClientRect().right > innerWidth + 1)
        .map((one) => one.outerHTML.slice(0, 120))"""
    assert browser.execute_script(outside) == []


def test_hostile_names_do_nothing(shown: Any) -> None:
    found = comparison(["supervised", HOSTILE], classes=["cat", HOSTILE, "owl"], notes=[HOSTILE], command=HOSTILE)
    browser = shown(found)
    assert browser.execute_script("return [typeof hacked, document.images.length]") == ["undefined", 0]
    legend = "return document.querySelector('[data-chart=gain] .legend').textContent"
    assert browser.execute_script(legend) == HOSTILE
    assert browser.get_log("browser") == []


def test_one_run_makes_a_page(shown: Any) -> None:
    browser = shown(comparison(["supervised"], [40], 1))
    assert texts(browser, "runs", 0) == ["supervised"]
    assert drawn(browser)["accuracy"] == 1
    assert browser.get_log("browser") == []


def test_two_hundred_runs_of_a_hundred_classes_make_a_page(shown: Any) -> None:
    names = ["supervised", *(f"pseudolabel (threshold 0.{k})" for k in range(10, 19))]
    found = comparison(names, [40, 100, 250, 1000], 5, [f"class {k}" for k in range(100)], epochs=300)
    assert len(found.runs) == 200
    assert len(html(found, Path("nowhere"))) < 4_000_000
    browser = shown(found, 360)
    assert drawn(browser)["accuracy"] == 40
    browser.execute_script("document.querySelector(`.filter input[value='250']`).click()")
    assert drawn(browser)["accuracy"] == 30
    assert len(texts(browser, "runs", 0)) == 150
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    assert browser.get_log("browser") == []

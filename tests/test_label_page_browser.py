"""The page that pictures are labeled on, in a headless Chromium: keys, touch, undo, what is kept and what is saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import until
from test_compare_page_browser import browser, contrasts  # noqa: F401 a fixture

from semisup.data.labels_csv import read_labels
from semisup.labeling.page import Chosen, write

HOSTILE = "</script><img src=x onerror='hacked=1'>=\u202e"
EARLIER = {"train/a.jpg": "cat", "=b,\u200e.jpg": "dog"}


def pictures(count: int = 3, side: int = 60) -> list[Chosen]:
    rng = np.random.default_rng(0)
    sizes = (count, side, side, 3)
    pixels = rng.integers(0, 256, sizes, dtype=np.uint8)
    return [Chosen(f"unlabeled/{k}\u200e,{HOSTILE}.jpg", one, k % 2, 0.4 + k / 10) for k, one in enumerate(pixels)]


Show = Callable[..., Any]


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Show:  # noqa: F811
    """Opens a page at a width, in light or dark, and returns the browser, which saves into the folder `saved`."""

    def shown(
        chosen: list[Chosen],
        classes: list[str],
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        fresh: bool = True,
    ) -> Any:
        write(tmp_path / "label.html", chosen, classes, EARLIER, "semisup fit")
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        allowed = {"behavior": "allow", "downloadPath": str(tmp_path / "saved")}
        browser.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
        browser.get((tmp_path / "label.html").as_uri())
        if fresh:
            browser.execute_script("localStorage.clear()")
            browser.refresh()
        return browser

    return shown


def press(opened: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(opened).send_keys(key).perform()


def state(opened: Any) -> tuple[str, str, str]:
    """How many have a label, the number of the picture that is shown, and the class that it has."""
    script = """return [document.getElementById("done").textContent,
        document.getElementById("path").textContent.split(".")[0],
        document.querySelector("#classes [aria-pressed=true] span")?.textContent ?? ""]"""
    done, number, label = opened.execute_script(script)
    return done, number, label


def saved(opened: Any, folder: Path) -> dict[str, str]:
    opened.execute_script("document.getElementById('save').click()")
    file = folder / "saved/labels.csv"
    until(file.exists)
    found = read_labels(file)
    file.unlink()
    return found


def test_a_key_labels_and_another_undoes(show: Show, tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    opened, three = show(pictures(), ["cat", "dog", HOSTILE]), pictures()
    assert state(opened) == ("0", "1", "")
    assert opened.execute_script("return document.getElementById('guess').textContent") == "cat? 40 % sure"
    press(opened, "2")
    assert state(opened) == ("1", "2", "")
    press(opened, Keys.ENTER)  # the guess, a dog
    assert state(opened) == ("2", "3", "")
    press(opened, Keys.BACKSPACE)
    assert state(opened) == ("1", "2", "")
    press(opened, Keys.ARROW_LEFT)
    assert state(opened) == ("1", "1", "dog")
    press(opened, Keys.SPACE, Keys.SPACE, "3")  # the third is of the third class, and the second is open still
    assert state(opened) == ("2", "2", "")
    press(opened, "9", "x")  # of no class
    ActionChains(opened).key_down(Keys.CONTROL).send_keys("1").key_up(Keys.CONTROL).perform()  # the browser's own
    assert state(opened) == ("2", "2", "")
    assert saved(opened, tmp_path) == EARLIER | {three[0].path: "dog", three[2].path: HOSTILE}
    press(opened, "1")
    assert opened.execute_script("return document.getElementById('finished').hidden") is False
    assert saved(opened, tmp_path) == EARLIER | {three[0].path: "dog", three[1].path: "cat", three[2].path: HOSTILE}
    assert opened.get_log("browser") == []
    assert opened.execute_script("return [typeof hacked, document.images.length]") == ["undefined", 1]


def test_a_pointer_does_it_and_the_next_key_is_not_the_buttons(show: Show) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened = show(pictures(), ["cat", "dog"], width=390)
    opened.find_elements(By.CSS_SELECTOR, "#classes button")[1].click()
    assert state(opened) == ("1", "2", "")
    press(opened, Keys.ARROW_RIGHT, Keys.ENTER)  # the guess of the third is a cat; the button pressed before is a dog's
    press(opened, Keys.ARROW_RIGHT)
    assert state(opened) == ("2", "3", "cat")
    for name, expected in (("undo", ("1", "3", "")), ("back", ("1", "2", "")), ("next", ("1", "3", ""))):
        opened.find_element(By.ID, name).click()
        assert state(opened) == expected


def test_what_was_done_is_there_when_the_page_is_opened_again(show: Show) -> None:
    opened = show(pictures(), ["cat", "dog"])
    press(opened, "2", "1")
    opened.refresh()
    assert state(opened) == ("2", "3", "")
    press(opened, "\ue012", "\ue012")  # the left arrow
    assert state(opened) == ("2", "1", "dog")
    opened = show(pictures(2), ["cat", "dog"], fresh=False)  # another list
    assert state(opened) == ("0", "1", "")


def test_of_many_classes_one_can_be_found(show: Show) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened = show(pictures(), [f"class {number}" for number in range(100)])
    press(opened, "a")  # the 21st key
    opened.find_element(By.ID, "filter").send_keys("class 77", Keys.ENTER)
    opened.find_element(By.ID, "back").click()
    assert state(opened) == ("2", "2", "class 77")
    opened.find_element(By.ID, "back").click()
    assert state(opened) == ("2", "1", "class 20")


def test_a_class_of_one_character_has_that_as_its_key(show: Show) -> None:
    opened = show(pictures(), [*"0123456789", "B", "bird"])
    keys = "return [...document.querySelectorAll('#classes kbd')].map((one) => one.textContent)"
    assert opened.execute_script(keys) == [*"0123456789", "b", "q"]
    press(opened, "7", "b", "q")
    for expected in ("bird", "B", "7"):
        assert state(opened)[2] == expected
        opened.find_element("id", "back").click()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_fingers_find_its_buttons(width: int, show: Show) -> None:
    long = "a-class-with-a-name-of-no-reasonable-length-" * 3
    opened = show(pictures(), ["cat", "dog", long, *(f"class {k}" for k in range(7))], width=width, height=844)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    heights = "return [...document.querySelectorAll('button')].map((one) => one.getBoundingClientRect().height)"
    assert min(opened.execute_script(heights)) >= 44
    seen = "const box = document.getElementById('picture').getBoundingClientRect(); return [box.width, box.height]"
    assert min(opened.execute_script(seen)) >= 250
    first = "return document.querySelector('#classes button').getBoundingClientRect().bottom"
    assert opened.execute_script(first) <= 844  # without scrolling
    assert opened.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)") == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read(show: Show, dark: bool) -> None:
    opened = show(pictures(), ["cat", "dog"], dark=dark)
    press(opened, "1", "\ue012")  # a class that is chosen, and a button that saves
    opened.execute_script("document.querySelector('details').open = true")
    grounds, contrast = contrasts(opened)
    # The button of a class that is chosen, and the one that saves, are light in the dark and dark in the light.
    assert len(contrast) >= 4 and {ground < 110 for ground in grounds} == {True, False}
    assert (
        opened.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    ) == dark
    assert min(contrast.values()) >= 4.5, contrast

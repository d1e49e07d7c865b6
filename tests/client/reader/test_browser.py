"""The reader's page in Chromium: by keys alone, for every eye, on a phone, on paper, and on this machine only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import axe_core_python
import pytest
from playwright.sync_api import BrowserContext, Page

from tests.client.reader.conftest import ODD, Served, Watched, patients, rows

AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RINGED = """[document.activeElement, document.activeElement.closest("label")]
  .some(one => one && getComputedStyle(one).outlineStyle !== "none")"""
COLOURS = ["color-contrast"]
NOTICE = "Research use only - not a medical device"


def wait(page: Page, what: str) -> None:
    """Returns once the page has it, and its keys do something."""
    page.wait_for_selector(f"body[data-ready] {what}")


def test_an_exam_is_read_by_keys_alone(watched: Watched, reading: Served) -> None:
    page = watched.page
    names = [row["name"] for row in rows(page, reading.base)]
    mine = names.index(patients(rows(page, reading.base))[1]["name"])
    for _ in range(mine + 2):
        page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    wait(page, "#reading form")
    assert page.locator("h1").inner_text() == names[mine]
    page.keyboard.press("a")  # no answer to this question
    page.keyboard.press("b")
    page.keyboard.press("m")
    before = len(reading.readings()) if (reading.home / "readings.jsonl").exists() else 0
    assert page.locator("#reading input:checked").get_attribute("value") == "malignant"
    page.keyboard.press("Enter")
    wait(page, "#verdict form")
    assert reading.readings()[before]["answer"] == "malignant" and reading.readings()[before]["blind"]
    assert page.locator(".attention").first.get_attribute("opacity") == "0"
    page.keyboard.press("o")
    assert page.locator(".attention").first.get_attribute("opacity") == "0.6"
    page.keyboard.press("d")
    page.keyboard.press("Enter")
    wait(page, "#verdict details")
    assert page.locator("h1").inner_text() == names[mine]  # no page moves on by itself
    page.keyboard.press("c")
    page.keyboard.press("Enter")
    wait(page, "#verdict .big >> text=Cannot tell")
    page.keyboard.press("?")
    assert page.locator("dialog[open] kbd").count() > 10
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    wait(page, f"h1:text-is('{names[mine + 1]}')")
    page.keyboard.press("l")
    wait(page, ".list")
    said = [(one["step"], one["answer"], one["blind"]) for one in reading.readings()[before:]]
    assert said == [
        ("reading", "malignant", True),
        ("verdict", "disagree", False),
        ("verdict", "cannot-tell", False),
    ]
    (label,) = [
        json.loads(line)
        for line in (reading.home / "monitor" / "labels.jsonl").read_text().splitlines()
        if json.loads(line)["exam"] == names[mine]
    ]
    assert (label["malignant"], label["source"]) == (True, "reader")


def test_tab_and_enter_are_enough(watched: Watched, reading: Served) -> None:
    page = watched.page
    page.goto(f"{reading.base}/help")
    page.locator("#letters").press("Space")
    try:
        page.goto(f"{reading.base}/exams/{patients(rows(page, reading.base))[2]['id']}")
        page.keyboard.press("m")
        assert page.locator("#reading input:checked").count() == 0
        tab_to(page, "input[name=answer]")
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        wait(page, "#verdict form")
        assert page.locator("#reading .big").inner_text() == "Malignant"
    finally:
        page.goto(f"{reading.base}/help")
        page.locator("#letters").press("Space")


def tab_to(page: Page, what: str) -> None:
    """Presses Tab until the focus is there; it has to be seen wherever it comes by."""
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.matches(':focus-visible')") and page.evaluate(RINGED)
        if page.evaluate("what => document.activeElement.matches(what)", what):
            return
    raise AssertionError(f"Tab does not lead to {what}")


def test_an_image_is_zoomed_moved_and_windowed_by_key_and_mouse(watched: Watched, reading: Served) -> None:
    page = watched.page
    two_images = next(row["id"] for row in rows(page, reading.base) if row["images"] == 2)
    page.goto(f"{reading.base}/exams/{two_images}")
    wait(page, ".film")
    assert page.locator(".film:visible").count() == 1
    page.keyboard.press("2")
    assert page.locator("[data-image='1']").get_attribute("aria-pressed") == "true"
    page.keyboard.press("+")
    page.locator(".light").focus()
    page.keyboard.press("ArrowRight")
    x, y, scale = place(page)
    assert scale == 1.25 and x < -0.125 * 96 and y == -0.125 * 96
    slope, intercept = window(page)
    assert (slope, intercept) == (1, 0)
    page.keyboard.press("]")
    page.keyboard.press(".")
    wider, lifted = window(page)
    # The middle of the window goes to the middle of the screen's range: out = (value - level) slope + 1 / 2.
    assert wider == pytest.approx(2**0.1) and (0.5 - lifted) / wider == pytest.approx(0.48)
    page.keyboard.press("0")
    assert place(page) == (0, 0, 1) and window(page) == (1, 0)
    spot = page.locator(".light").bounding_box()
    assert spot is not None
    page.mouse.move(spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2)
    page.mouse.wheel(0, -100)
    page.wait_for_function("document.querySelector('#zoom').textContent == '115 %'")
    page.mouse.down()
    page.mouse.move(spot["x"] + spot["width"] / 2 + 20, spot["y"] + spot["height"] / 2)
    page.mouse.up()
    assert place(page)[0] > -0.075 * 96
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(spot["x"] + spot["width"] / 2 + 60, spot["y"] + spot["height"] / 2)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert window(page)[0] > 1


def place(page: Page) -> tuple[float, ...]:
    """Returns the shift to the right and down, and the zoom, of the images."""
    moved = "document.querySelector('.film:not([hidden]) .moved').transform.baseVal.consolidate().matrix"
    found: list[float] = page.evaluate(f"(m => [m.e, m.f, m.a])({moved})")
    return tuple(round(value, 6) for value in found)


def window(page: Page) -> tuple[float, float]:
    part = page.locator("#window feFuncG")
    return float(part.get_attribute("slope") or 0), float(part.get_attribute("intercept") or 0)


@pytest.fixture(scope="module")
def states(context: Any, reading: Served) -> dict[str, str]:
    """Every page, and an exam in every state, by its path."""
    page = context.new_page()
    page.goto(reading.base)
    by_name = {row["name"]: row["id"] for row in rows(page, reading.base)}
    names = [row["name"] for row in patients(rows(page, reading.base))]
    for name, answer in (("blank", "cannot-tell"), (names[3], "benign")):
        page.goto(f"{reading.base}/exams/{by_name[name]}")
        page.check(f"[value={answer}]")
        page.click("#reading button")
        wait(page, "#verdict form")
    page.goto(f"{reading.base}/exams/{by_name['cut']}")
    page.close()
    exams = {"answered": names[3], "abstained": "blank", "unreadable": "cut", "new": names[4]}
    paths = {"worklist": "/", "model": "/model", "keys": "/help"}
    return paths | {state: f"/exams/{by_name[name]}" for state, name in exams.items()}


def test_every_page_can_be_used_by_everybody(watched: Watched, reading: Served, states: dict[str, str]) -> None:
    page = watched.page
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for state, path in states.items():
            page.goto(reading.base + path)
            # What a page is made of does not change with the light; its colours do.
            assert violations(page, RULES if scheme == "light" else COLOURS) == [], (state, scheme)
            assert NOTICE in page.inner_text("header .notice")


def test_help_and_trouble_can_be_used_by_everybody(context: BrowserContext, watched: Watched, reading: Served) -> None:
    page = watched.page
    page.keyboard.press("?")
    dialog = violations(page, RULES)
    elsewhere = context.new_page()
    elsewhere.goto(f"{reading.base}/nothing")
    trouble = violations(elsewhere, RULES)
    assert "There is no such page" in elsewhere.inner_text("[role=alert]")
    elsewhere.close()
    assert dialog == trouble == []


def violations(page: Page, rules: list[str]) -> list[Any]:
    """Returns what axe finds on a page as it is, of any impact."""
    page.evaluate(AXE + "; undefined")
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", rules)
    assert found["passes"]
    return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found["violations"]]


def test_a_name_is_shown_and_does_nothing(watched: Watched, reading: Served) -> None:
    page = watched.page
    page.goto(f"{reading.base}/exams/{next(row['id'] for row in rows(page, reading.base) if row['name'] == ODD)}")
    assert page.inner_text("h1") == ODD and page.locator("h1 img").count() == 0


def test_every_page_fits_a_phone(watched: Watched, reading: Served, states: dict[str, str]) -> None:
    page = watched.page
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        for path in states.values():
            page.goto(reading.base + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_dark_and_paper_are_drawn(watched: Watched, reading: Served, states: dict[str, str]) -> None:
    page = watched.page
    page.goto(reading.base + states["abstained"])
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(paper) != light
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    assert page.locator(".answer .big").is_visible() and page.locator(".notice").is_visible()
    assert not page.locator(".tools").is_visible() and not page.locator(".top nav").is_visible()
    assert len(page.pdf()) > 10_000


def test_an_abstention_is_as_loud_as_a_result(watched: Watched, reading: Served, states: dict[str, str]) -> None:
    page = watched.page
    size = "parseFloat(getComputedStyle(document.querySelector('%s')).fontSize)"
    page.goto(reading.base + states["answered"])
    assert page.locator(".notfor li").count() >= 4
    figure = page.evaluate(size % ".answer .figure")
    page.goto(reading.base + states["abstained"])
    assert page.evaluate(size % ".answer .big") >= figure
    assert page.inner_text(".answer .big") == "No answer"
    assert "an image shows one value only" in page.inner_text(".answer li")
    assert page.locator(".figure").count() == 0
    page.goto(reading.base + states["unreadable"])
    assert page.inner_text(".answer .big") == "No answer" and page.locator(".choices").count() == 0

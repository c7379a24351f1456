"""The page in a real Chromium, from a file."""

from __future__ import annotations

import pytest

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from playwright.sync_api import expect

from dopd_lightning.compare import Comparison
from dopd_lightning.compare.report import write_report
from tests.compare.conftest import Runs


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Address of a page with two groups of two seeds."""
    folder = tmp_path_factory.mktemp("compared")
    make_run = Runs(folder)
    for seed in (0, 1):
        for rule in ("dopd", "teacher"):
            loss = [(step, step + seed + (rule == "dopd")) for step in range(4)]
            logged = {"train/loss": loss, "val/accuracy": [(1, 0.5), (3, 0.6)]}
            run = make_run(f"{rule}{seed}", seed=seed, summary={"steps": 4}, logged=logged, rule=f"<b>{rule}</b>")
    (run / "divergence_map.html").write_text("<!doctype html><title>its map</title>")
    (folder / "out").mkdir()
    write_report(Comparison.of([str(folder / "runs")]), folder / "out")
    return (folder / "out" / "compare.html").as_uri()


@pytest.fixture
def page(browser, address):
    """The page; afterwards it has asked for nothing but itself, and found no error."""
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    requests, complaints = [], []
    page = context.new_page()
    page.set_default_timeout(10_000)
    context.on("request", lambda request: requests.append(request.url.split("#")[0]))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    expect(page.locator(".chart svg")).to_have_count(2)
    yield page
    context.close()
    assert {url for url in requests if not url.endswith("divergence_map.html")} == {address}
    assert complaints == []


def dots(page):
    """Areas for the pointer, larger than the visible dots."""
    return page.locator('.chart path[aria-roledescription=point][opacity="0"]')


def test_every_metric_has_a_panel_with_a_dot_a_step_and_group(page):
    assert page.locator("figcaption").all_inner_texts() == ["val/accuracy", "train/loss"]
    expect(dots(page)).to_have_count(2 * 2 + 2 * 4)


def test_a_dot_tells_its_group_and_its_numbers_and_names_are_text(page):
    page.locator(".chart").last.locator('path[aria-roledescription=point][opacity="0"]').last.hover()
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "<b>teacher</b>" in tooltip.inner_text()
    assert "3.5" in tooltip.inner_text(), "the mean of 3 and 4, the last step's losses"
    assert page.locator("b").count() == 0


def test_a_group_is_hidden_and_shown_by_its_button(page):
    button = page.locator("button.group").first
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    expect(dots(page)).to_have_count(2 + 4)
    page.locator("#all").click()
    assert button.get_attribute("aria-pressed") == "true"
    expect(dots(page)).to_have_count(4 + 8)


def test_a_run_leads_to_its_map(page):
    assert page.locator("table.runs a").count() == 1
    page.locator("table.runs a").click()
    assert page.title() == "its map"


def test_it_can_be_read_on_a_narrow_screen(page):
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380

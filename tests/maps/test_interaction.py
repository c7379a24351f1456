"""Keys, clicks, search and links on the page in a real Chromium, from a file."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.maps.looking import tokens, value


def test_tokens_are_walked_by_keyboard_and_one_alone_is_in_the_order_of_tabs(opened, steps):
    page = opened(steps)
    tokens(page).first.focus()
    for key, position in [("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2), ("End", 9), ("Home", 1)]:
        page.keyboard.press(key)
        assert value(page, "position") == f"{position} of 9"
        assert page.locator("#tokens [tabindex='0']").count() == 1
        assert page.locator("#tokens [aria-selected=true]").get_attribute("data-position") == str(position - 1)
    page.keyboard.press("ArrowDown")  # the sixth token ends the first line
    assert int(value(page, "position").split()[0]) > 6
    assert "Gap" in page.locator("#live").inner_text()
    page.keyboard.press("ArrowUp")
    assert int(value(page, "position").split()[0]) <= 6


def test_pointing_at_a_token_shows_it_until_one_points_elsewhere(opened, steps):
    page = opened(steps)
    tokens(page).nth(2).click()
    tokens(page).nth(4).hover()
    assert value(page, "position") == "5 of 9"
    page.locator("h1").hover()
    assert value(page, "position") == "3 of 9"


def test_everything_is_reached_by_tabs(opened, steps):
    page = opened(steps, "#step=10")
    reached = []
    while "tokens" not in reached and len(reached) < 20:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.parentElement.id"))
    wanted = ["theme", "previous", "step", "next", "colour", "search", "tokens"]
    assert [name for name in reached if name in wanted] == wanted


def test_a_fixed_prompt_stays_while_the_slider_moves_and_a_fresh_one_does_not(opened, steps):
    page = opened(steps, "#step=0&prompt=fixed-1")
    slider = page.locator("#step")
    slider.focus()
    for key, step in [("ArrowRight", 10), ("ArrowRight", 200), ("ArrowLeft", 10)]:
        page.keyboard.press(key)
        expect(page.locator("#prompt")).to_have_text(f"What is 1 + {step}?")
        expect(slider).to_have_attribute("aria-valuetext", f"step {step}")
    page.locator("#prompts [data-key=fresh-1]").click()
    expect(page.locator("#prompt")).to_have_text("What is 3 + 10?")
    page.locator("#next").click()
    expect(page.locator("#step-shown")).to_have_text("200")
    expect(page.locator("#prompt")).to_have_text("What is 3 + 200?")
    assert page.locator("#next").is_disabled()


def test_a_step_that_is_decoded_late_does_not_replace_a_later_choice(opened, steps):
    page = opened(steps, "#step=10")
    page.evaluate(
        """async () => {
            const decode = decodeStep;
            decodeStep = async (at) => {
                if (at === 0) await new Promise((done) => setTimeout(done, 200));
                return decode(at);
            };
            await Promise.all([showStep(0), showStep(2)]);
        }"""
    )
    assert page.locator("#prompt").inner_text() == "What is 0 + 200?"
    assert page.evaluate("location.hash").startswith("#step=200&")


def test_a_fresh_prompt_that_a_step_has_not_gives_way_to_the_first(opened, make_snapshot):
    few, many = make_snapshot(["a"], ["b"], step=1), make_snapshot(["a"], ["b"], ["c"], step=2)
    page = opened([few, many], "#step=2&prompt=fresh-1&token=1")
    page.locator("#previous").click()
    expect(page.locator("#prompt")).to_have_text("What is 0 + 1?")
    assert not page.locator("#record dd").count()


def test_prompts_are_searched_by_prompt_and_by_response(opened, steps):
    page = opened(steps, "#step=0")
    visible = page.locator("#prompts [role=option]:visible")
    assert visible.count() == 4
    for words, keys in [("is 2 +", ["fresh-0"]), ("nowhere", []), ("ROW 1", ["fixed-1"]), (" 42.row 3", ["fresh-1"])]:
        page.locator("#search").fill(words)
        found = visible.evaluate_all("options => options.map(option => option.dataset.key)")
        assert found == keys or "\n" in words
        assert f"{len(found)} of 4" in page.locator("#matches").inner_text()
    assert page.locator("#prompts [role=group]:visible").count() == 1
    page.locator("#search").fill("")
    page.locator("#prompts [tabindex='0']").focus()
    page.keyboard.press("End")
    expect(page.locator("#prompt")).to_have_text("What is 3 + 0?")


def test_a_view_can_be_linked(opened, steps):
    page = opened(steps)
    page.locator("#previous").click()
    page.select_option("#colour", "student_entropy")
    page.locator("#prompts [data-key=fixed-1]").click()
    tokens(page).nth(4).click()
    address = page.evaluate("location.hash")
    other = opened(steps, address)
    expect(other.locator("#step-shown")).to_have_text("10")
    assert other.locator("#colour").input_value() == "student_entropy"
    assert other.locator("#prompt").inner_text() == "What is 1 + 10?"
    assert value(other, "position") == "5 of 9"


@pytest.mark.parametrize("address", ["#step=7&prompt=fixed-99&colour=none&token=-3", "#token=1e9", "#%E0%A4%A&step"])
def test_a_link_that_leads_nowhere_leads_to_the_beginning(opened, steps, address):
    page = opened(steps, address)
    expect(page.locator("#step-shown")).to_have_text("200")
    expect(page.locator("#prompt")).to_have_text("What is 0 + 200?")

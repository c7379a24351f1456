"""Appearance of the page in a real Chromium, from a file."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from benchmarks.made_up_maps import like_a_run
from dopd_lightning.maps import render_page
from tests.maps.looking import WORDS, tokens, value

REGIMES = ["LH", "LL", "HT", "HS"]


def options(page):
    return page.locator("#colour option").evaluate_all("options => options.map(option => option.value)")


def number(text):
    return float(re.sub(r"[≈,≥\s]", "", text).replace("−", "-"))


def limit_that_says(snapshots, words):
    """The largest page, to 100 bytes, that has to say this."""
    full = len(render_page(snapshots, title="Map")) + 10_000
    return next(limit for limit in range(full, 0, -100) if words in render_page(snapshots, title="Map", limit=limit))


def contrast(colours):
    """WCAG's, of "rgb(...)" texts."""

    def luminance(colour):
        parts = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


def test_a_token_is_seen_as_text_and_its_record_has_the_snapshots_numbers(opened, steps):
    page = opened(steps, "#step=10&prompt=fixed-1")
    assert tokens(page).all_inner_texts() == ["So", "␣12", "+", "30", "␣is", "↵↵", "␣42", ".", "row␣1"]
    response = steps[1].responses[1]
    for position in (0, 6):
        tokens(page).nth(position).hover()
        assert value(page, "position") == f"{position + 1} of 9"
        assert value(page, "id") == str(response.token_ids[position])
        assert value(page, "regime").startswith(REGIMES[response.regimes[position]])
        for name, numbers in response.quantities.items():
            assert number(value(page, name)) == pytest.approx(numbers[position], rel=1e-3)
        share = response.quantities["loss"][position] / response.quantities["loss"].sum()
        assert number(value(page, "loss_share").rstrip("%")) == pytest.approx(100 * share, abs=0.51)
        for policy, alternatives in response.alternatives.items():
            rows = page.locator(f"#record [data-policy={policy}] li")
            assert rows.count() == 5
            for rank in range(5):
                assert rows.nth(rank).get_attribute("data-id") == str(alternatives.ids[position, rank])
                piece = steps[1].pieces[alternatives.ids[position, rank]].decode()
                assert rows.nth(rank).locator("bdi").inner_text() == piece.replace(" ", "␣").replace("\n", "↵")
                shown = number(rows.nth(rank).locator(".share").inner_text().strip("< %"))
                assert shown == pytest.approx(100 * alternatives.probabilities[position, rank], abs=0.51)
        decoded = page.evaluate(f"step.alternatives(response().start + {position})")
        for found, alternatives in zip(decoded, response.alternatives.values(), strict=True):
            probabilities = [entry["probability"] for entry in found["entries"]]
            assert probabilities == pytest.approx(alternatives.probabilities[position], rel=2e-4, abs=3e-8)
    assert page.locator("#record .bytes code").text_content() == "20 34 32"


@pytest.mark.parametrize(
    ("words", "within", "digits"), [("numbers within 16 %", 0.163, 1), ("numbers within 4 %", 0.04, 2)]
)
def test_numbers_that_were_cut_short_are_as_close_as_is_said(opened, steps, words, within, digits):
    page = opened(steps, "#step=0&prompt=fixed-0&token=1", limit=limit_that_says(steps, words))
    assert words in page.locator("#notice").inner_text()
    for name, exact in steps[0].responses[0].quantities.items():
        values = np.array(page.evaluate(f"[...valuesOf(step, response(), '{name}')]"))
        assert (np.abs(values - exact) <= within * (exact + 3e-4)).all()
        assert value(page, name).startswith("≈ ")
        assert number(value(page, name)) == pytest.approx(values[0], rel=0.5 / 10 ** (digits - 1))


def test_each_quantity_that_is_there_can_be_the_colour_and_no_other(opened, steps, make_snapshot):
    page = opened(steps)
    assert options(page)[0] == "regime"
    assert set(options(page)) == {"regime", "loss_share", *steps[0].responses[0].quantities}
    alone = make_snapshot(WORDS, without=["gap"], sources=["teacher"], regimes=np.full(8, -1, dtype=np.int8))
    page = opened([alone], "#colour=gap&token=1")
    assert not {"regime", "gap", *(name for name in options(page) if "reference" in name)} & set(options(page))
    assert page.locator("#colour").input_value() == options(page)[0]
    assert not page.locator("#record dd[data-name=regime], #record dd[data-name=gap]").count()
    assert page.locator("#record [data-policy]").evaluate_all("all => all.map(one => one.dataset.policy)") == [
        "student",
        "teacher",
    ]


def test_three_sources_have_three_columns_each_under_its_name(opened, make_snapshot):
    sources = ["maths", "<b>code</b>", "teacher"]
    snapshot = make_snapshot(WORDS, sources=sources)
    page = opened([snapshot], "#step=0&prompt=fixed-0&token=2")
    (response,) = snapshot.responses
    assert set(options(page)) == {"regime", "loss_share", *response.quantities}
    labels = page.locator("#colour option").all_inner_texts()
    assert {"Divergence to maths", "Entropy of <b>code</b>", "Probability under the teacher"} <= set(labels)
    for source in sources:
        for kind in ("probability", "divergence", "entropy"):
            name = f"{source}_{kind}"
            shown = number(page.locator(f'#record dd[data-name="{name}"]').inner_text())
            assert shown == pytest.approx(response.quantities[name][1], rel=1e-3)
    columns = page.locator("#record [data-policy]")
    assert columns.evaluate_all("all => all.map(one => one.dataset.policy)") == ["student", *sources]
    assert columns.locator("h4").evaluate_all("all => all.map(one => one.textContent)") == ["student", *sources]
    for column, alternatives in enumerate(response.alternatives.values()):
        ids = columns.nth(column).locator("li").evaluate_all("all => all.map(one => Number(one.dataset.id))")
        assert ids == alternatives.ids[1].tolist()
    panel, *boxes = (each.bounding_box() for each in (page.locator("#record"), *columns.all()))
    assert all(box["x"] + box["width"] <= panel["x"] + panel["width"] for box in boxes), "none sticks out"
    page.select_option("#colour", "maths_entropy")
    assert "entropy of maths (nats)" in page.locator("#legend").inner_text()


def test_a_step_shows_its_own_sources_where_others_have_others(opened, make_snapshot):
    page = opened([make_snapshot(WORDS, step=step, sources=[name]) for step, name in enumerate(("maths", "code"))])
    assert {name for name in options(page) if name.endswith("_entropy")} == {"student_entropy", "code_entropy"}
    page.locator("#previous").click()
    page.wait_for_function("step.step === 0")
    assert {name for name in options(page) if name.endswith("_entropy")} == {"student_entropy", "maths_entropy"}


def test_regimes_differ_by_colour_and_by_underline(opened, make_snapshot):
    regimes = np.arange(4, dtype=np.int8)
    page = opened([make_snapshot(["a", "b", "c", "d"], regimes=regimes)])
    styles = tokens(page).evaluate_all(
        "all => all.map(getComputedStyle).map(s => [s.backgroundColor, s.textDecorationLine, s.textDecorationStyle])"
    )
    assert len({colour for colour, *_ in styles}) == 4
    assert len({tuple(underline) for _, *underline in styles}) == 4
    legend = page.locator("#legend").inner_text()
    assert all(name in legend for name in REGIMES)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_every_colour(opened, make_snapshot, scheme):
    gap = np.linspace(0, 4, 60).astype(np.float32)
    regimes = (np.arange(60) % 4).astype(np.int8)
    page = opened(
        [make_snapshot(["x"] * 60, quantities={"gap": gap, "loss": gap}, regimes=regimes)], color_scheme=scheme
    )
    for colour in ("regime", "gap"):
        page.select_option("#colour", colour)
        pairs = tokens(page).evaluate_all(
            "all => all.map(getComputedStyle).map(style => [style.color, style.backgroundColor])"
        )
        assert len({background for _, background in pairs}) >= 4
        assert min(map(contrast, pairs)) >= 4.5
    plain = "element => [getComputedStyle(element).color, getComputedStyle(document.body).backgroundColor]"
    assert min(contrast(page.locator(which).first.evaluate(plain)) for which in ("h1", ".quiet", ".label")) >= 4.5


def test_a_larger_gap_stands_out_more(opened, make_snapshot):
    gap = np.array([0, 0.1, 1, 3], dtype=np.float32)
    page = opened([make_snapshot(["a", "b", "c", "d"], quantities={"gap": gap})], "#colour=gap")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    colours = tokens(page).evaluate_all("all => all.map(token => getComputedStyle(token).backgroundColor)")
    against = [contrast([colour, paper]) for colour in colours]
    assert against == sorted(against)
    assert against[-1] > 3 > against[0]
    ticks = page.locator("#legend .ticks span").all_inner_texts()
    assert [number(tick) for tick in ticks] == pytest.approx([0, 0.735, 2.94], rel=0.02)


def test_what_is_no_number_is_marked_and_said(opened, make_snapshot):
    gap = np.array([1, np.nan, np.inf], dtype=np.float32)
    page = opened([make_snapshot(["a", "b", "c"], quantities={"gap": gap})], "#colour=gap&token=2")
    assert page.locator("#tokens [data-unknown]").all_inner_texts() == ["b", "c"]
    assert value(page, "gap") == "not finite"


def test_dark_and_light_follow_the_system_until_one_is_chosen(opened, steps):
    page = opened(steps, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.locator("#theme").click()
    light = page.evaluate(background)
    assert contrast([dark, "rgb(0, 0, 0)"]) < 1.5
    assert contrast([light, "rgb(255, 255, 255)"]) < 1.5
    page.locator("#theme").click()
    assert page.evaluate(background) == dark


def test_totals_are_those_of_the_snapshot(opened, steps):
    page = opened(steps, "#step=10&prompt=fixed-0")
    sides = [[steps[1].responses[0]], steps[1].responses]
    for regime, name in enumerate(REGIMES):
        cells = page.locator(f"#totals tr[data-name={name}] td").all_inner_texts()
        if not cells:
            assert all((response.regimes != regime).all() for response in steps[1].responses)
            continue
        for side, (share, gap, loss) in zip(sides, (cells[:3], cells[3:]), strict=True):
            here = np.concatenate([response.regimes == regime for response in side])
            if not here.any():
                assert (share, gap, loss) == ("–", "–", "–")
                continue
            assert number(share.rstrip("%")) == pytest.approx(100 * here.mean(), abs=0.51)
            for shown, quantity in (gap, "gap"), (loss, "loss"):
                values = np.concatenate([response.quantities[quantity] for response in side])
                assert number(shown) == pytest.approx(values[here].mean(), rel=0.06)


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "&lt;b&gt;",
    "<!--<script>",
    "\u202eevil\u2066",
    "\0\x07\x1b",
    b"\xff\xfe",
    "\ud800",
    "x" * 10_000,
    b"\xf0\x9f",
    b"\x99\x82",
    "\u0301\u0301",
    "\u200b\ufeff",
    "{{ 7 * 7 }}",
    "",
]


def test_hostile_tokens_and_prompts_are_text(opened, make_snapshot):
    text = "</script><img src=x onerror=alert(2)>\u202e \ud800"
    snapshot = make_snapshot(HOSTILE, prompt=text, privileged=text)
    page = opened([snapshot], title=text.replace("\ud800", ""))
    assert tokens(page).evaluate_all("all => all.map(token => token.textContent)") == [
        "</script><script>alert(1)</script>",
        "<img␣src=x␣onerror=alert(1)>",
        "&lt;b&gt;",
        "<!--<script>",
        "<U+202E>evil<U+2066>",
        "␀␇␛",
        r"\xff\xfe",
        r"\xed\xa0\x80",
        "x" * 48 + "… (10,000 characters)",
        "🙂",
        "⋯",
        "◌\u0301\u0301",
        "<U+200B><U+FEFF>",
        "{{␣7␣*␣7␣}}",
        "",
    ]
    assert page.locator("#prompt").text_content() == "</script><img src=x onerror=alert(2)><U+202E> <U+D800>"
    assert page.title() == "</script><img src=x onerror=alert(2)>\u202e"
    assert page.locator("#map script, #map img").count() == 0
    tokens(page).nth(8).hover()
    assert page.locator("#record .bytes code").text_content().endswith("78 … (10,000 bytes)")
    tokens(page).nth(10).hover()
    assert value(page, "part") == "bytes 3–4 of the 4 of 🙂"
    assert page.locator("#record .bytes code").text_content() == "99 82"


def test_right_to_left_text_does_not_move_its_neighbours(opened, make_snapshot):
    page = opened([make_snapshot(["one", "שלום", "עולם", "12", "عربي", "three"])])
    lefts = tokens(page).evaluate_all("all => all.map(token => token.getBoundingClientRect().left)")
    assert lefts == sorted(lefts)


@pytest.mark.parametrize(("width", "address"), [(380, "#colour=gap"), (380, "#token=3"), (800, "#token=3")])
def test_nothing_sticks_out_of_the_window(opened, steps, make_snapshot, width, address):
    wide = make_snapshot([*HOSTILE, "W" * 48, *WORDS * 20], step=300, prompt="W" * 500)
    page = opened([*steps, wide], address, viewport={"width": width, "height": 800}, title="W" * 80)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if "token" in address:
        token, record = (page.locator(which).bounding_box() for which in ("#tokens [aria-selected=true]", "#record"))
        assert token["y"] >= 0
        assert token["y"] + token["height"] <= record["y"] or token["x"] + token["width"] <= record["x"]


def test_a_page_without_steps_or_responses_says_so(opened, make_snapshot):
    assert "nothing to show" in opened([]).locator("#empty").inner_text()
    assert "no responses" in opened([make_snapshot(step=3)]).locator("#empty").inner_text()
    page = opened([make_snapshot([], ["a"])])
    assert page.locator("#tokens").inner_text() == "This response is empty."
    page.locator("#prompts [data-key=fresh-0]").click()
    assert tokens(page).all_inner_texts() == ["a"]


def test_a_page_over_its_limit_says_what_it_left_out_and_works(opened, steps):
    limit = limit_that_says(steps, "no alternatives")
    page = opened(steps, limit=limit)
    assert (
        page.locator("#notice").inner_text().startswith(f"To stay below {limit:,} bytes this page has no alternatives")
    )
    tokens(page).first.hover()
    assert not page.locator("#record .alternatives").count()
    assert tokens(page).count() == 9


def test_paper_is_white_and_has_no_controls(opened, steps):
    page = opened(steps, "#token=2", color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#tokens").is_visible()
    assert not page.locator("#search").is_visible()
    assert contrast([page.evaluate("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)"]) < 1.5


def test_a_large_page_is_soon_there(opened):
    """A step of 200 prompts of 512 tokens; `python -m benchmarks.map_page` measures twenty of them."""
    snapshots = [like_a_run(step, prompts=200, fixed=100, tokens=512) for step in (0, 10)]
    begin = time.monotonic()
    page = opened(snapshots, "#token=9", limit=2_000_000)
    assert value(page, "position") == "9 of 512"
    assert tokens(page).count() == 512
    assert time.monotonic() - begin < 30  # most of it to encode; a machine may be busy

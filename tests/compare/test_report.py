"""The page and the figures."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from html.parser import HTMLParser

import pytest

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from PIL import Image

from dopd_lightning.compare import Comparison
from dopd_lightning.compare.figures import FIELDS, figures_of
from dopd_lightning.compare.report import write_report
from tests.compare.conftest import Runs

HOSTILE = "</script><script>alert(1)</script><img src=http://x.test/a onerror=alert(1)>"


class Page(HTMLParser):
    """Page as a browser parses it: elements with their attributes, and the text inside each."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))
        if tag not in ("meta", "img", "line", "link"):
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        if self.open and self.open[-1][0] == tag:
            self.open.pop()

    def handle_data(self, data):
        for _, _, texts in self.open:
            texts.append(data)

    def all(self, tag, **wanted):
        return [
            (attributes, "".join(texts))
            for name, attributes, texts in self.elements
            if name == tag and wanted.items() <= attributes.items()
        ]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of :func:`report`."""
    return tmp_path_factory.mktemp("compared") / "out"


@pytest.fixture(scope="module")
def report(out):
    """Two groups, one of a hostile name, with two seeds each and a run that has a map; written to ``out``."""
    make_run = Runs(out.parent)
    for seed in (0, 1):
        for number, text in enumerate(("plain", HOSTILE)):
            loss = [(step, number + step * (seed + 1)) for step in range(3)]
            logged = {"train/loss": loss, "val/accuracy": [(1, 0.5), (2, math.nan)], "once": [(0, 1)]}
            folder = make_run(f"{number}{seed} #?", seed=seed, summary={"steps": 3}, logged=logged, text=text)
    (folder / "divergence_map.html").touch()
    out.mkdir()
    comparison = Comparison.of([str(out.parent / "runs")])
    write_report(comparison, out)
    return comparison


@pytest.fixture
def page(report, out):
    return Page((out / "compare.html").read_text(encoding="utf-8"))


def test_a_report_is_a_page_tables_and_figures(report, out):
    names = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert names == {"compare.html", "compare.md", "compare.csv", "figures/train-loss.png", "figures/val-accuracy.png"}


def test_figures_are_pictures_for_print(report, out):
    for path in (out / "figures").iterdir():
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert 800 < image.width < 3000
            assert 500 < image.height < 3000
            colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}
            assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (255, 255, 255)} <= colours, "a line for each group"


def test_nothing_is_loaded_and_no_script_but_the_page_s_own_may_run(page):
    loading = ("src", "href", "srcset", "data", "action", "poster")
    loads = [(tag, attributes) for tag, attributes, _ in page.elements if {*loading} & {*attributes} and tag != "a"]
    assert loads == []
    ((policy, _),) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    own = [text for attributes, text in page.all("script") if not attributes]
    assert len(own) == 2
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in own]
    (style,) = page.all("style")
    style_hash = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}'; style-src 'sha256-{style_hash}'"
    )


def test_what_runs_are_called_is_text(page, report):
    assert report.groups[1].settings["text"].startswith("</script>")
    assert page.all("img") == []
    assert len(page.all("script")) == 5, "labels, fields and panels; Vega and the page's own"
    buttons = [text.strip() for _, text in page.all("button", **{"class": "group"})]
    assert buttons == [group.label for group in report.groups]


def test_panels_hold_the_curves(page, report):
    def data(name):
        ((_, text),) = page.all("script", id=name)
        return json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))

    assert data("labels") == [group.label for group in report.groups]
    assert data("fields") == [*FIELDS] == ["label", "step", "mean", "error", "seeds"]
    accuracy, loss = data("panels")
    assert loss["points"][:3] == [[0, 0, 0, 0, 2], [0, 1, 1.5, 0.5, 2], [0, 2, 3, 1, 2]]
    assert accuracy["points"][:2] == [[0, 1, 0.5, 0, 2], [0, 2, None, None, 2]], "no number is a gap"
    assert [text for _, text in page.all("figcaption")] == ["val/accuracy", "train/loss"]
    assert [attributes["data-panel"] for attributes, _ in page.all("div", **{"class": "chart"})] == ["0", "1"]


def test_maps_are_linked_where_they_are(page):
    assert page.all("a") == [({"href": "../runs/11%20%23%3F/divergence_map.html"}, "open")]


def test_a_page_without_curves_is_its_tables(make_run, tmp_path):
    make_run("a", summary={"steps": 3})
    write_report(Comparison.of([str(tmp_path)]), tmp_path)
    page = Page((tmp_path / "compare.html").read_text(encoding="utf-8"))
    assert page.all("script") == []
    assert [text for _, text in page.all("h2")] == ["How they ended", "Runs", "Notes"]
    assert [*(tmp_path / "figures").iterdir()] == []


def test_each_figure_has_a_file_name_of_its_own(make_run, tmp_path):
    names = ["a/b", "a-b", "A/B", "../x", "/", "é" * 300]
    make_run("a", logged={name: [(0, 1), (1, 2)] for name in names})
    files = [figure.file.lower() for figure in figures_of(Comparison.of([str(tmp_path)]))]
    assert len({*files}) == len(names)
    assert all(file.isascii() and "/" not in file and 0 < len(file) < 100 and file[0] != "." for file in files)

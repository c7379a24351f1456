"""Tables on the console, in Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from itertools import product

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from dopd_lightning.compare import Comparison, print_tables, to_csv, to_markdown

HOSTILE = ["</script><img src=x>", "a|b", "`c` *d* _e_ [f](g) ~~h~~", "i\nj", "[bold]k[/bold]", "&lt;", "\\|"]


@pytest.fixture
def comparison(make_run, tmp_path):
    for number, lr in enumerate((0.1, 0.2)):
        for seed in (0, 1):
            summary = {"accuracy": {"student_before": 0.5, "student_after": 0.5 + 0.1 * number + 0.02 * seed * number}}
            make_run(f"{number}{seed}", seed=seed, summary=summary | {"steps": 2}, optimizer={"lr": lr})
    make_run("killed", seed=2, logged={"train/loss": [(0, 1.0), (7, 1.0)]}, optimizer={"lr": 0.2})
    return Comparison.of([str(tmp_path)])


@pytest.fixture
def hostile(make_run, tmp_path):
    for number, value in enumerate(HOSTILE):
        make_run(f"r{number}", summary={"steps": 1}, prompt_format={"text": value})
    return Comparison.of([str(tmp_path)])


def tables_in(markdown):
    """The cells of each table, as a Markdown reader shows them."""
    tables, tokens = [], MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    for token in tokens:
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and tables and token.level == tokens[0].level + 4 - tokens[0].level:
            assert all(child.type in ("text", "text_special") for child in token.children), token.content
            tables[-1][-1].append("".join(child.content for child in token.children))
    return tables


def test_markdown_has_the_groups_then_ends_and_differences_by_family(comparison):
    groups, accuracy, difference, steps = tables_in(to_markdown(comparison))
    assert groups == [
        ["group", "lr", "seeds", "unfinished seeds"],
        ["lr=0.1", "0.1", "0, 1", "—"],
        ["lr=0.2", "0.2", "0, 1", "2 (step 7)"],
    ]
    assert accuracy == [
        ["group", "n", "student_before", "student_after"],
        ["lr=0.1", "2", "0.5 ± 0", "0.5 ± 0"],
        ["lr=0.2", "2", "0.5 ± 0", "0.610 ± 0.010"],
    ]
    assert difference == [["group", "n", "student_after"], ["lr=0.2", "2", "+0.110 ± 0.010"]], "what does not differ"
    assert steps == [["group", "n", "steps"], ["lr=0.1", "2", "2 ± 0"], ["lr=0.2", "2", "2 ± 0"]]


def test_markdown_ends_with_the_notes(comparison, tmp_path):
    assert rf"- {tmp_path}/runs/killed: has not finished (no summary.json)" in to_markdown(comparison).splitlines()


def test_what_runs_are_called_is_text_in_markdown(hostile):
    groups, *_ = tables_in(to_markdown(hostile))
    assert [row[0] for row in groups[1:]] == [group.label for group in hostile.groups]
    assert [row[1] for row in groups[1:]] == [value if value != "i\nj" else '"i\\nj"' for value in HOSTILE]


def test_what_runs_are_called_is_text_on_the_console(hostile):
    console = Console(file=io.StringIO(), width=200)
    print_tables(hostile, console)
    printed = console.file.getvalue()
    assert all(group.label in printed for group in hostile.groups)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_console_s_width_is_kept_and_no_number_is_broken(comparison, width):
    console = Console(file=io.StringIO(), width=width)
    print_tables(comparison, console)
    printed = console.file.getvalue()
    assert "0.610 ± 0.010" in printed
    assert "+0.110 ± 0.010" in printed
    assert max(map(len, printed.split("note:")[0].splitlines())) <= width


def test_csv_has_a_row_for_each_group_and_metric_in_full_precision(comparison):
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    metrics = ("accuracy.student_before", "accuracy.student_after", "steps")
    assert [(row["setting.lr"], row["metric"]) for row in rows] == [*product(("0.1", "0.2"), metrics)]
    row = rows[4]
    assert (row["group"], row["n"], row["pairs"]) == ("lr=0.2", "2", "2")
    numbers = [float(row[name]) for name in ("mean", "standard_error", "difference", "difference_standard_error")]
    assert numbers == pytest.approx([0.61, 0.01, 0.11, 0.01])
    assert [rows[0][name] for name in ("pairs", "difference")] == ["0", ""]
    assert float(row["mean"]) == comparison.end(1, "accuracy.student_after").mean

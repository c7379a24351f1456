"""Paths, globs and lists of them lead to runs."""

from __future__ import annotations

import pytest

from dopd_lightning.compare.folders import find_folders
from dopd_lightning.errors import ConfigError


def names(folders):
    return [folder.name for folder in folders]


def test_a_run_s_own_folder_is_that_run_and_nothing_below_it_is_another(make_run):
    make_run("a/wandb/files")
    folder = make_run("a")
    assert find_folders([str(folder)]) == [folder]


def test_a_folder_above_leads_to_all_below_as_people_count(make_run, tmp_path):
    for name in ("sweep/10", "sweep/2", "sweep/1"):
        make_run(name)
    assert names(find_folders([str(tmp_path)])) == ["1", "2", "10"]


def test_a_glob_where_there_is_no_such_path(make_run, tmp_path):
    for name in ("one_a", "one_b", "two_a", "[x]"):
        make_run(name)
    assert names(find_folders([f"{tmp_path}/runs/one_*"])) == ["one_a", "one_b"]
    assert names(find_folders([f"{tmp_path}/**/two_a"])) == ["two_a"]
    assert names(find_folders([f"{tmp_path}/runs/[x]"])) == ["[x]"], "a path that is there is that path"
    make_run("[ab]/1")
    assert names(find_folders([f"{tmp_path}/runs/[ab]/*"])) == ["1"], "and so is the beginning of a glob"


def test_the_order_of_a_list_is_kept_and_none_comes_twice(make_run):
    a, b = make_run("a"), make_run("b")
    assert find_folders([str(b), str(a.parent), str(a)]) == [b, a]


def test_what_hydra_keeps_of_a_run_is_no_run_of_its_own_but_shows_that_one_began(make_run, tmp_path):
    begun = make_run("a/.hydra").parent
    assert find_folders([str(tmp_path)]) == [begun]


def test_what_leads_nowhere_is_named(make_run, tmp_path):
    folder = make_run("a")
    with pytest.raises(ConfigError, match=r"^runs: '/nowhere/\*' leads to no run: there is no config.yaml in it or be"):
        find_folders([str(folder), "/nowhere/*"])

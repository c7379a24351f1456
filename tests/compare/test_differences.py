"""Settings in which runs differ, with their names and values."""

from __future__ import annotations

from dopd_lightning.compare.differences import differences_of


def differences(*configs, seeds=None):
    own = [{"seed": seed, **config} for seed, config in zip(seeds or [0] * len(configs), configs, strict=True)]
    return {each.name: [*each.values] for each in differences_of(own)}


def test_equal_runs_differ_in_nothing():
    assert differences({"optimizer": {"lr": 1e-5}}, {"optimizer": {"lr": 1e-5}}) == {}


def test_a_setting_goes_by_the_last_parts_of_its_key_that_tell_it_from_others():
    a = {"optimizer": {"lr": 1e-5}, "data": {"train": {"size": 1}, "val": {"size": 2}}}
    b = {"optimizer": {"lr": 2e-5}, "data": {"train": {"size": 3}, "val": {"size": 4}}}
    assert differences(a, b) == {"lr": ["1e-05", "2e-05"], "train.size": ["1", "3"], "val.size": ["2", "4"]}


def test_names_places_loggers_and_paths_in_the_run_s_own_folder_set_nothing_apart():
    def run(folder):
        callbacks = {"export": {"folder": f"{folder}/student"}}
        paths = {"output_dir": folder, "runs": folder}
        return {"name": folder, "paths": paths, "callbacks": callbacks, "logger": {"dir": folder}, "ckpt_path": folder}

    assert differences(run("runs/a"), run("runs/b")) == {}
    assert differences({"callbacks": {"guard": {"low": 1}}}, {"callbacks": {"guard": {"low": 2}}}) == {
        "low": ["1", "2"]
    }


def test_what_only_shows_sets_nothing_apart():
    def run(title):
        callbacks = {"divergence_map": {"title": title}, "live_console": {"rollouts": len(title)}}
        return {"callbacks": callbacks, "trainer": {"log_every_n_steps": len(title)}}

    assert differences(run("one"), run("another")) == {}


def test_what_has_the_seed_s_value_in_every_run_is_the_seed():
    following = [{"data": {"seed": seed}} for seed in (0, 1, 2)]
    assert differences(*following, seeds=[0, 1, 2]) == {}
    assert differences(*following, seeds=[0, 1, 1]) == {"seed": ["0", "1", "2"]}


def test_a_path_that_has_the_run_s_own_seed_and_method_in_it_sets_nothing_apart():
    def run(seed, method, path):
        return {"seed": seed, "method": method, "student": {"name": path}}

    ours, theirs = run(1, "opd", "runs/method=opd,seed=1/student"), run(2, "dopd", "runs/method=dopd,seed=2/student")
    assert differences(ours, theirs, seeds=[1, 2]) == {"method": ["opd", "dopd"]}
    other = run(2, "opd", "runs/method=opd,seed=1/student")
    assert list(differences(ours, other, seeds=[1, 2])) == ["name"]
    longer = run(1, "opd", "runs/method=opd_privileged,seed=12/student")
    assert list(differences(ours, longer, seeds=[1, 1])) == ["name"]
    inner = run(1, "opd", "runs/method=opd,data.seed=1/student")
    assert differences(inner, run(2, "opd", "runs/method=opd,data.seed=2/student"), seeds=[1, 2]) != {}


def test_another_object_brings_its_settings_along():
    dopd = {"fusion": {"_target_": "dopd_lightning.fusion.DOPD", "beta_weak": 0.3, "top_k": 128}}
    teacher = {"fusion": {"_target_": "dopd_lightning.fusion.Teacher", "top_k": 128}}
    assert differences(dopd, teacher) == {"fusion": ["DOPD", "Teacher"]}
    other = {"fusion": dopd["fusion"] | {"beta_weak": 0.1}}
    assert differences(dopd, other, teacher) == {
        "fusion": ["DOPD", "DOPD", "Teacher"],
        "beta_weak": ["0.3", "0.1", "—"],
    }


def test_a_setting_that_both_objects_have_is_shown_and_known_to_go_with_them():
    a = {"fusion": {"_target_": "dopd_lightning.fusion.DOPD", "top_k": 128}}
    b = {"fusion": {"_target_": "dopd_lightning.fusion.Teacher", "top_k": 64}}
    fusion, top_k = differences_of([{"seed": 0, **a}, {"seed": 0, **b}])
    assert (fusion.name, fusion.implied) == ("fusion", False)
    assert (top_k.name, top_k.values, top_k.implied) == ("top_k", ["128", "64"], True)


def test_a_node_that_makes_nothing_next_to_one_that_does():
    assert differences({"teacher": {}}, {"teacher": {"_target_": "x.Policy", "name": "a"}}) == {
        "teacher": ["—", "x.Policy"]
    }


def test_values_are_short_on_one_line_and_as_different_as_they_are():
    def shown(*values):
        return differences(*({"key": value} for value in values))["key"]

    assert shown(1, 2.0, True, None, "text", [1, "a"]) == ["1", "2", "true", "null", "text", '[1, "a"]']
    assert shown(1, "1") == ["1", '"1"'], "a text that looks like a number"
    assert shown("dopd_lightning.x.Same", "dopd_lightning.y.Same") == ["dopd_lightning.x.Same", "dopd_lightning.y.Same"]
    assert shown("a\nb", "") == ['"a\\nb"', '""']
    assert shown("\u202eabc", "b")[0] == '"\\u202eabc"', "what would turn the text around"
    long, other = "x" * 100 + "end", "x" * 100 + "END"
    assert shown(long, other) == ["x" * 30 + "…" + "x" * 26 + "end", "x" * 30 + "…" + "x" * 26 + "END"]
    assert shown("x" * 50 + "a" + "x" * 50, "x" * 50 + "b" + "x" * 50)[0] == "x" * 50 + "a" + "x" * 50
    assert differences({"key": 1}, {"key": 1.0}) == {}


def test_a_method_brings_its_parts_along():
    dopd = {"method": "dopd", "fusion": {"_target_": "dopd_lightning.fusion.DOPD"}, "privileged": {"teacher": 1}}
    opd = {"method": "opd", "fusion": {"_target_": "dopd_lightning.fusion.Teacher"}, "privileged": {"teacher": 0}}
    assert differences(dopd, opd) == {"method": ["dopd", "opd"]}


def test_a_part_that_differs_within_a_method_counts():
    runs = [{"method": "dopd", "fusion": {"beta_weak": weight}} for weight in (0.1, 0.3)]
    assert differences(*runs, {"method": "opd", "fusion": {"beta_weak": 0.3}}) == {
        "method": ["dopd", "dopd", "opd"],
        "beta_weak": ["0.1", "0.3", "0.3"],
    }


def test_what_no_method_consists_of_counts():
    runs = [{"method": name, "optimizer": {"lr": lr}} for name, lr in (("dopd", 1), ("opd", 2))]
    assert differences(*runs) == {"method": ["dopd", "opd"], "lr": ["1", "2"]}

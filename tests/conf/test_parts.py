"""The parts of an experiment or a method can be changed: another choice of a group replaces what was there."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dopd_lightning.callbacks import ExportStudent
from dopd_lightning.cli.build import build
from dopd_lightning.cli.instantiate import check_complete
from dopd_lightning.cli.removed_groups import fill_absent
from dopd_lightning.cli.stages import run_stage

CONF = Path(str(files("dopd_lightning.conf")))
NAMED = sorted(path for room in ("experiment", "method") for path in (CONF / room).rglob("*.yaml"))
GROUPS = ["student", "teacher", "reference", "fusion", "rollout", "engine", "data", "optimizer", "scheduler", "trainer"]


def keys(node, where=()):
    """Return the paths of a mapping's values, as tuples of keys."""
    if not isinstance(node, dict) or "params" in where:
        return {where}
    return {path for name, child in node.items() if name != "defaults" for path in keys(child, (*where, name))}


@cache
def choice(path):
    """The keys of one choice of a group, with those of the choices that it is made from."""
    content = OmegaConf.to_container(OmegaConf.load(path))
    found = keys(content)
    for entry in content.get("defaults", ()):
        target, name = next(iter(entry.items())) if isinstance(entry, dict) else ("", entry)
        package = (target or name).partition("@")[2]
        within = () if package in ("", "_here_") else (package,)
        file = f"{target.partition('@')[0]}/{name}" if target else name.partition("@")[0]
        folder = CONF if file.startswith("/") else path.parent
        found |= {(*within, *key) for key in choice(folder / f"{file.lstrip('/')}.yaml")}
    return found


@cache
def shared(group):
    """The keys that every choice of a group has."""
    return set.intersection(*(choice(path) for path in sorted((CONF / group).rglob("*.yaml"))))


@pytest.mark.parametrize("path", NAMED, ids=lambda path: path.relative_to(CONF).with_suffix("").as_posix())
def test_it_sets_of_a_group_only_what_every_choice_of_it_has(path):
    """Anything else would be left in the node of another choice; it belongs into a choice with a name."""
    content = OmegaConf.to_container(OmegaConf.load(path))
    for group in GROUPS:
        own = keys(content.get(group, {})) - {()}
        assert own <= shared(group), f"{group}: " + ", ".join(".".join(key) for key in sorted(own - shared(group)))


def test_what_every_choice_has():
    assert ("batch_size",) in shared("data")
    assert ("lr",) in shared("optimizer")
    assert ("max_new_tokens",) in shared("rollout")
    assert not shared("teacher"), "none has nothing"
    assert ("train", "hint") not in shared("data")


@pytest.mark.parametrize(
    ("experiment", "others"),
    [
        ("quickstart", ["fusion=data", "rollout=dataset"]),
        ("quickstart", ["data=jsonl"]),
        ("quickstart", ["data=hub", "rollout=mixed"]),
        ("quickstart_teacher", ["student=lora", "teacher=pretrained", "optimizer=adafactor"]),
        ("paper/qwen3_8b_to_1.7b", ["student=quickstart", "teacher=none", "fusion=reference", "rollout=teacher"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_another_choice_is_as_it_is_without_the_experiment(configured, experiment, others):
    changed = configured(f"+experiment={experiment}", *others, bare=True)
    alone = configured(*others, bare=True)
    for group in (other.partition("=")[0] for other in others if not other.startswith("method")):
        found, expected = (keys(OmegaConf.to_container(config[group])) for config in (changed, alone))
        assert found == expected


SMALL = [
    "data.train.size=64",
    "trainer.val_check_interval=null",
    "data.val.size=2",
    "data.test.size=2",
    "logger=none",
    "rollout.max_new_tokens=4",
    "trainer.max_steps=1",
]


def test_the_quickstart_supervised_on_worked_solutions_runs(configured):
    unwatched = ["callbacks=none", "evaluate={teacher: false, student_before: false, student_after: false}"]
    run_stage(configured("+experiment=quickstart", "fusion=data", "rollout=dataset", *SMALL, *unwatched, bare=True))


def test_the_quickstart_on_a_few_problems_of_ones_own_runs(configured, lines):
    own = ["data=jsonl", f"data.train.path={lines}", "data.batch_size=2", "module.verifier=exact"]
    run_stage(configured("+experiment=quickstart", *own, "logger=none", "rollout.max_new_tokens=4", bare=True))


def test_parts_that_are_left_out_are_not_there(configured, models, lines):
    without = [f"~{part}" for part in ("teacher", "scheduler", "callbacks", "logger")]
    without += ["~data.val", "~trainer.accumulate_grad_batches"]
    config = configured(
        f"student.name={models}/student",
        f"data.train.path={lines}",
        "fusion=reference",
        "data.batch_size=2",
        *without,
        bare=True,
    )
    fill_absent(config)
    check_complete(config)
    run = build(config)
    assert run.module.teacher is None
    assert run.trainer.loggers == []
    assert not any(isinstance(callback, ExportStudent) for callback in run.trainer.callbacks)
    assert run.data.sets["val"] is None
    assert config.scheduler.name == "constant"


def test_an_object_of_ones_own_takes_the_place_of_a_part(configured):
    config = configured("fusion._target_=study.rules.MedianRouting")
    assert type(build(config).module.fusion).__name__ == "MedianRouting"

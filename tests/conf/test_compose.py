"""Every YAML file composes onto the root and makes its objects, and Python defaults stand in Python alone."""

from __future__ import annotations

import inspect
import json
import re
import sys
from importlib.resources import files
from itertools import chain, zip_longest
from pathlib import Path

import lightning as L
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_object
from omegaconf import OmegaConf

from dopd_lightning.cli.build import build
from dopd_lightning.cli.instantiate import check_complete
from dopd_lightning.cli.main import main
from dopd_lightning.cli.resolvers import asset, default_of
from dopd_lightning.training.module import DOPDModule
from tests.data import paper_rows

CONF = Path(str(files("dopd_lightning.conf")))
FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
CHOICES = [path.with_suffix("").as_posix() for path in FILES if path.name != "config.yaml"]
GROUPS = sorted({choice.split("/")[0] for choice in CHOICES})

SMALL_SUMS = ["data.train.size=8", "data.val.size=2", "data.test.size=2"]
QUICKSTART = [*SMALL_SUMS, "data.batch_size=2"]

BESIDE = (
    "callbacks",
    "engine",
    "hydra",
    "logger",
    "optimizer",
    "paths",
    "precision",
    "scheduler",
    "strategy",
    "trainer",
)
"""Groups whose choices have nothing to do with one another."""


def needs(choice, models, lines, folder):
    """Overrides with which a choice's objects can be made here: names of models and files, and less of everything."""
    if choice.startswith("experiment/paper/"):
        names = [f"student.name={models}/student", f"teacher.name={models}/teacher"]
        return [
            *names,
            f"data.train.path={lines}",
            "data.batch_size=2",
            "rollout.max_new_tokens=4",
            "trainer.devices=1",
        ]
    if choice.removeprefix("data/") in paper_rows.SETS:
        file = paper_rows.write(paper_rows.SETS[choice.removeprefix("data/")], folder / "rows.parquet")
        return ["data.train.path=parquet", f"data.train.data_files={file}", "data.train.split=train"]
    if choice.startswith("data/quickstart"):
        return SMALL_SUMS
    if choice.startswith("student/scratch"):
        return [f"student.tokenizer={models}/student"]
    own = {
        "teacher/base": ["student=lora"],
        "teacher/none": ["fusion=data"],
        "reference/base": ["student=lora"],
        "sources/base": ["student=lora"],
        **{
            f"{role}/{kind}": members(role, models)
            for role in ("teacher", "reference")
            for kind in ("ensemble", "by_domain")
        },
        "fusion/data": ["rollout=dataset"],
        **{f"fusion/{rule}": ["sources=[outcome]"] for rule in ("opdvr", "r2_opd", "reward_mix", "dopd_outcome")},
        "fusion/teacher_probe": ["sources=[outcome,solved]", "sources.solved.column=answer"],
        "source/column": ["sources.maths.column=answer"],
        "sources/solved": ["sources.solved.column=answer"],
        "method/static": ["fusion=data"],
        "reference/model": [f"reference.model.name={models}/other"],
        "source/policy": [f"sources.maths.name={models}/other"],
        "source/base": ["student=lora"],
        **{f"source/{kind}": members("sources.maths", models) for kind in ("ensemble", "by_domain")},
        "data/hub": ["data.train.path=json", f"data.train.data_files={lines}", "data.train.split='train[:2]'"],
        "data/reasoning_gym": SMALL_SUMS,
        "privilege/writer/local": [f"privilege.writer.name={models}/student"],
        "trainer/gpu": ["trainer.accelerator=cpu", "trainer.devices=1"],
        "experiment/quickstart": [*QUICKSTART, f"student.name={models}/student", f"teacher.name={models}/teacher"],
        "experiment/quickstart_teacher": QUICKSTART,
        "experiment/quickstart_student": [*QUICKSTART, f"student.tokenizer={models}/student"],
    }
    return own.get(choice, [])


def members(role, models):
    """Two members of a source that is made of several."""
    return [
        word
        for name in ("student", "other")
        for word in (f"+source@{role}.members.{name}=policy", f"{role}.members.{name}.name={models}/{name}")
    ]


def _group_and_name(choice):
    """Split a choice; where a group has folders, its name has them: ``experiment``, ``paper/base``."""
    nested = choice.startswith(("data/", "experiment/", "fusion/", "method/", "student/"))
    return choice.split("/", 1) if nested else choice.rsplit("/", 1)


def _rows():
    """All choices that make objects on a CPU, each once; one of each of the groups ``BESIDE`` at a time."""
    here = [choice for choice in CHOICES if choice != "precision/16-mixed"]
    columns = [[choice for choice in here if choice.startswith(f"{group}/")] for group in BESIDE]
    rows = [[choice for choice in row if choice] for row in zip_longest(*columns)]
    return rows + [[choice] for choice in here if choice not in {*chain(*columns)}]


@pytest.fixture
def chosen(configured, models, lines, tmp_path):
    def compose(*choices):
        words, sets, bare = [], ("train",), False
        for choice in choices:
            group, name = _group_and_name(choice)
            if group == "source":  # which is a node of a group beside it
                group, name = "+source@sources.maths", name
            words += [f"{'+' if group in ('debug', 'experiment') else ''}{group}={name}"]
            words += needs(choice, models, lines, tmp_path)
            if choice.endswith("/by_domain"):
                path = tmp_path / "domains.jsonl"
                rows = [json.loads(line) | {"domain": "other"} for line in lines.read_text().splitlines()]
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
                words.append(f"data.train.path={path}")
            if group == "experiment":
                bare = True
                words.append("trainer.val_check_interval=null")
            if group == "data" and name != "jsonl":
                sets = ()
        return configured(*words, sets=sets, bare=bare)

    return compose


def test_the_groups_are_those_of_the_method_and_of_lightning():
    expected = "callbacks data debug engine experiment fusion hydra logger method optimizer paths precision privilege "
    assert [
        *(expected + "reference rollout scheduler source sources strategy student teacher trainer").split()
    ] == GROUPS


@pytest.mark.parametrize("choices", _rows(), ids=" ".join)
def test_they_compose_onto_the_root_and_their_objects_are_made(chosen, choices, monkeypatch):
    monkeypatch.setattr("dopd_lightning.rollout.vllm_in_process.find_spec", lambda name: "as if it were installed")
    monkeypatch.setattr("dopd_lightning.rollout.VLLMServerEngine.positions", 1024)  # as if there were a server
    config = chosen(*choices)
    check_complete(config)
    OmegaConf.resolve(config.copy())  # what --cfg job --resolve does
    run = build(config)
    assert isinstance(run.module, DOPDModule)
    assert isinstance(run.trainer, L.Trainer)
    assert len(run.data.sets[{"fit": "train", "validate": "val", "test": "test"}[config.stage]]) >= 2


def test_float16_composes_and_is_for_gpus(chosen):
    assert chosen("precision/16-mixed").trainer.precision == "16-mixed"


@pytest.mark.parametrize("debug", ["anomaly", "fast", "overfit", "profile"])
def test_debugging_goes_over_any_experiment(configured, debug):
    config = configured("+experiment=quickstart", f"+debug={debug}", bare=True)
    written = OmegaConf.load(CONF / "debug" / f"{debug}.yaml")
    for key, value in written.trainer.items():
        assert config.trainer[key] == value
    if debug == "overfit":  # two batches an epoch: none of an experiment's intervals would ever come
        assert config.trainer.val_check_interval is None


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_the_quickstart_policies_come_with_the_package(configured, role):
    config = configured("+experiment=quickstart", bare=True)
    assert config[role].name == asset(f"quickstart_{role}")
    assert Path(config[role].name).parent == Path(str(files("dopd_lightning"))) / "assets"


def test_nobody_else_s_code_is_run_unless_asked_for(configured, models):
    config = configured("reference=model", f"reference.model.name={models}/other")
    assert [config.student.trust_remote_code, config.teacher.trust_remote_code] == [False, False]
    assert config.reference.model.trust_remote_code is False


def test_wandb_is_offline_unless_asked_for(configured):
    assert configured("logger=wandb").logger.wandb.offline is True


# ---------------------------------------------------------------------------------- one place for each default


def nodes_of_ours(node, where=""):
    """Every node that makes an object of this package, with the place it is at in its file."""
    if isinstance(node, dict):
        if str(node.get("_target_")).startswith("dopd_lightning."):
            yield where, node
        for key, child in node.items():
            yield from nodes_of_ours(child, f"{where}.{key}".lstrip("."))


OURS = [
    pytest.param(path.stem, where, node, id=f"{path.with_suffix('').as_posix()}:{where}")
    for path in FILES
    for where, node in nodes_of_ours(OmegaConf.to_container(OmegaConf.load(CONF / path), resolve=False))
]


def defaults_of(node):
    parameters = inspect.signature(get_object(node["_target_"])).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


@pytest.mark.parametrize(("file", "where", "node"), OURS)
def test_no_default_is_written_twice(file, where, node):
    """Exempt are names of files and nodes, and ``null`` where it means that a set is not there."""
    called_after, may_be_absent = (file, where.rpartition(".")[2]), ("path", "split", "val", "test", "predict")
    defaults = defaults_of(node)
    for key, value in node.items():
        if key.startswith("_") or value in called_after or (value is None and key in may_be_absent):
            continue
        duplicate = value == defaults.get(key, "required") or (not value and defaults.get(key, "required") is None)
        assert not duplicate, f"{key}: {value!r} is the default in Python as well; write ${{default:…}}"


@pytest.mark.parametrize(("file", "where", "node"), OURS)
def test_a_default_referred_to_is_that_of_the_object_made(file, where, node):
    for key, value in node.items():
        if str(value).startswith("${default:"):
            path = value.removeprefix("${default:").removesuffix("}")
            assert path.rpartition(".")[2] == key
            default = defaults_of(node).get(key, default_of(path))  # `scratch` makes its tokenizer, too
            assert default_of(path) == (list(default) if isinstance(default, tuple) else default)


def test_a_reference_to_a_default_that_is_not_there():
    assert default_of("rollout.StudentRollout.temperature") == 1.0
    with pytest.raises(ValueError, match="this parameter has no default"):
        default_of("policies.load_policy.name")


# ----------------------------------------------------------------------------------------------------- --help


def test_help_explains_every_group_and_lists_its_choices(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dopd_lightning", "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()
    GlobalHydra.instance().clear()
    explained, listed = capsys.readouterr().out.split("Choices:")
    for choice in CHOICES:
        group, name = choice.rsplit("/", 1)
        if not group.startswith("hydra"):
            assert re.search(rf"^  ([a-z]+, )*{group.partition('/')[0]}\b", explained, re.MULTILINE), group
            assert re.search(rf"^{group}: .*\b{name}\b", listed, re.MULTILINE), choice


@pytest.mark.parametrize("path", FILES, ids=str)
def test_the_first_line_says_what_a_file_is(path):
    lines = (CONF / path).read_text(encoding="utf-8").splitlines()
    first = next((line for line in lines if not line.startswith("# @package")), "")
    assert first.startswith(("# ", "app_name")), f"{path} begins with {first!r}"

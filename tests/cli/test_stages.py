"""Each stage on tiny policies: what it runs, what it returns and what it leaves behind."""

from __future__ import annotations

import csv
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM, AutoTokenizer

from dopd_lightning.cli.stages import run_stage
from dopd_lightning.errors import ConfigError
from dopd_lightning.loggers.wandb_file import read_records

pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed from .*/run1/checkpoints' to ")

CONF = Path(str(files("dopd_lightning.conf")))


def choices(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


@pytest.fixture
def run(configured, tmp_path):
    """Run a stage in a folder of its own, ``run.folder`` until the next, and return its objective."""

    def stage(*overrides, **where):
        stage.count += 1
        stage.folder = tmp_path / f"run{stage.count}"
        return run_stage(configured(*overrides, f"paths.output_dir={stage.folder}", **where))

    stage.count = 0
    return stage


def metrics_of(run):
    with (run.folder / "csv" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------------------------------------------- fit


def test_fit_leaves_a_summary_the_configuration_logs_a_checkpoint_and_the_student(run, models, tokenizer):
    sets = ("train", "val", "test")
    objective = run("module.verifier=numeric", "objective=test/accuracy", sets=sets)

    summary = json.loads((run.folder / "summary.json").read_text())
    assert set(summary) == {"accuracy", "problems", "steps", "seconds", "regimes"}
    assert list(summary["accuracy"]) == ["teacher", "student_before", "student_after"]
    assert all(0 <= accuracy <= 1 for accuracy in summary["accuracy"].values())
    assert objective == summary["accuracy"]["student_after"]
    assert (summary["problems"], summary["steps"]) == (4, 2)
    assert summary["seconds"] > 0
    assert set(summary["regimes"]) == {"LH", "LL", "HT", "HS"}
    assert sum(summary["regimes"].values()) == pytest.approx(1)

    config = OmegaConf.load(run.folder / "config.yaml")
    assert "${" not in (run.folder / "config.yaml").read_text()
    assert (config.fusion.top_k, config.fusion.beta_weak, config.module.verifier) == (8, 0.3, "numeric")

    rows = metrics_of(run)
    assert {row["step"] for row in rows} == {"0", "1", "2"}, "the last is of the map after training"
    assert {"train/loss", "train/gap", "val/accuracy"} <= set(rows[0])
    assert "test/accuracy" not in rows[0], "the evaluations around training have their own Trainer"

    assert (run.folder / "checkpoints" / "last.ckpt").exists()
    student = weights(run.folder / "student")
    assert any(not torch.equal(student[name], before) for name, before in weights(models / "student").items())
    assert AutoTokenizer.from_pretrained(run.folder / "student").get_vocab() == tokenizer.get_vocab()


def test_names_of_folders_are_no_markup(configured, tmp_path, capsys):
    folder = tmp_path / "[bold]a[/x] :smile:"
    run_stage(configured(f'paths.output_dir="{folder}"', "evaluate.student_after=false"))
    assert "[bold]a[/x] :smile:/student" in "".join(capsys.readouterr().out.split("│")).replace("\n", "")


def test_it_returns_the_metric_that_the_objective_names(run):
    assert 0 <= run(sets=("train", "val")) <= 1, "val/accuracy by default"
    assert run("objective=train/loss") > 0
    assert run("objective=null") is None


def test_an_objective_that_was_not_measured_is_said_and_is_nothing(run, caplog):
    assert run("objective=val/accurracy", sets=("train", "val")) is None
    assert "objective: this run measured no 'val/accurracy'; nearest to it is val/accuracy or train/" in caplog.text
    (said,) = [record.message for record in caplog.records if "objective" in record.message]
    assert said.count(" or ") == 2, "three of the thirty"


@pytest.mark.parametrize("who", ["teacher", "student_before", "student_after"])
def test_an_evaluation_around_training_can_be_left_out(run, who):
    run(f"evaluate.{who}=false", sets=("train", "test"))
    accuracy = json.loads((run.folder / "summary.json").read_text())["accuracy"]
    assert set(accuracy) == {"teacher", "student_before", "student_after"} - {who}


def test_the_same_seed_gives_the_same_student_and_another_another(run):
    students = []
    for seed in (1, 1, 2):
        run(f"seed={seed}")
        students.append(weights(run.folder / "student"))
    assert all(torch.equal(students[0][name], students[1][name]) for name in students[0])
    assert any(not torch.equal(students[0][name], students[2][name]) for name in students[0])


def test_evaluation_before_training_changes_nothing_in_it(run):
    run("evaluate.teacher=false", "evaluate.student_before=false", sets=("train", "test"))
    without = weights(run.folder / "student")
    run(sets=("train", "test"))
    student = weights(run.folder / "student")
    assert all(torch.equal(student[name], without[name]) for name in without)


@pytest.mark.parametrize("sources", [["reference=snapshot"], ["reference=ema"], ["teacher=base"]])
def test_a_student_with_adapters_saves_them_and_is_exported_as_a_whole(run, models, sources):
    run("student=lora", "student.r=2", *sources)
    names = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {"lora_" in name for name in names if name.startswith(("student.", "reference."))} == {True}
    assert weights(run.folder / "student").keys() == weights(models / "student").keys()


@pytest.mark.parametrize("how", ["merge", "keep"])
def test_an_export_does_with_adapters_what_the_callback_is_told(run, how):
    keep = f"callbacks.export_student.adapters={how}"
    run("student=lora", "student.r=2", keep)
    found = {path.name for path in (run.folder / "student").glob("*.safetensors")}
    assert found == {"adapter_model.safetensors" if how == "keep" else "model.safetensors"}
    checkpoint = run.folder / "checkpoints" / "last.ckpt"
    run("student=lora", "student.r=2", keep, "stage=export", f"ckpt_path={checkpoint}")
    assert {path.name for path in (run.folder / "student").glob("*.safetensors")} == found


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # bitsandbytes'
@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_frozen_sources_in_few_bits(run, models, make_policy, tokenizer, tmp_path, quantization):
    for seed, role in enumerate(("teacher", "other")):
        # Wider than elsewhere: bitsandbytes' products of 4 bits need layers of whole blocks, 64 wide, on some CPUs.
        make_policy(seed, hidden_size=64, head_dim=32).save_pretrained(tmp_path / role)
        tokenizer.save_pretrained(tmp_path / role)
    few_bits = f"quantization={quantization}"
    sources = [f"teacher.name={tmp_path}/teacher", f"teacher.{few_bits}"]
    sources += ["reference=model", f"reference.model.name={tmp_path}/other", f"reference.model.{few_bits}"]
    run(*sources, "rollout=teacher", "evaluate.teacher=true")
    student = weights(run.folder / "student")
    assert any(not torch.equal(student[name], before) for name, before in weights(models / "student").items())
    names = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in names} == {"student"}
    with pytest.raises(ConfigError, match=r"student\.quantization: quantized weights cannot learn"):
        run(f"+student.{few_bits}")


def test_a_checkpoint_is_gone_on_from(run):
    run("trainer.max_steps=1")
    checkpoint = run.folder / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 1
    run(f"ckpt_path={checkpoint}", "trainer.max_steps=3", "trainer.max_epochs=5")
    assert json.loads((run.folder / "summary.json").read_text())["steps"] == 3
    assert torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3


def test_a_run_that_ends_before_its_steps_says_why(run, caplog):
    run("trainer.max_steps=2")
    assert "trainer.max_steps" not in caplog.text
    checkpoint = run.folder / "checkpoints" / "last.ckpt"
    run(f"ckpt_path={checkpoint}", "trainer.max_steps=30", "trainer.max_epochs=1")
    assert (
        "trainer.max_steps: the run ended after 2 of 30 steps, at max_epochs=1; raise trainer.max_epochs" in caplog.text
    )
    caplog.clear()
    run("trainer.max_steps=100000", "trainer.max_epochs=-1", "+trainer.max_time=00:00:00:01", "callbacks=none")
    assert re.search(r"ended after \d+ of 100000 steps, when trainer.max_time was over$", caplog.text, re.M)
    assert "raise trainer.max_epochs" not in caplog.text


@pytest.mark.parametrize("fusion", choices("fusion"))
def test_every_fusion_rule_trains(run, fusion):
    rollout = "dataset" if fusion == "data" else "student"
    rewards = ["sources=[outcome,solved]", "sources.solved.column=answer", "sources.outcome.verifier=numeric"]
    assert run(f"fusion={fusion}", f"rollout={rollout}", "objective=train/loss", *rewards) is not None
    assert json.loads((run.folder / "summary.json").read_text())["steps"] == 2


@pytest.mark.parametrize("rollout", choices("rollout"))
def test_every_rollout_trains(run, rollout):
    assert run(f"rollout={rollout}", "objective=train/loss") is not None


@pytest.mark.parametrize("reference", choices("reference"))
def test_every_reference_trains(run, reference, models):
    of_kind = {
        "model": [f"reference.model.name={models}/other"],
        "base": ["student=lora"],
        "ensemble": ["+source@reference.members.other=policy", f"reference.members.other.name={models}/other"],
        "by_domain": [
            *("+source@reference.members.other=policy", f"reference.members.other.name={models}/other"),
            *("reference.column=answer", "reference.domains={2: other, 3: other, 4: other, 5: other}"),
        ],
    }
    assert run(f"reference={reference}", *of_kind.get(reference, []), "objective=train/loss") is not None


def test_an_ensemble_teaches_and_is_not_asked_to_answer(run, models, caplog):
    members = ["+source@teacher.members.other=policy", f"teacher.members.other.name={models}/other"]
    run("teacher=ensemble", *members, "evaluate.teacher=true", sets=("train", "test"))
    assert "evaluate.teacher: the teacher is made of several policies" in caplog.text


def test_further_sources_train_by_name(run, models):
    sources = ["sources=[snapshot]", "+source@sources.maths=policy", f"sources.maths.name={models}/other"]
    share = "fusion.weights={teacher: 0.5, snapshot: 0.2, maths: 0.3}"
    assert run(*sources, "fusion=mixture", share, "objective=train/loss") is not None


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.filterwarnings("ignore:the student's weights are in bfloat16")
def test_it_trains_in_bfloat16(run, precision):
    assert run(f"precision={precision}", "objective=train/loss") is not None


def test_a_student_from_nothing_learns_its_tokenizer_from_the_training_data(run):
    few = ["vocabulary_size=300", "architecture.hidden_size=16", "architecture.num_hidden_layers=1"]
    scratch = ["student=scratch", "teacher=none", "fusion=data", "rollout=dataset", *(f"student.{it}" for it in few)]
    run(*scratch)
    tokenizer = AutoTokenizer.from_pretrained(run.folder / "student")
    assert " 2" in {tokenizer.decode([token]) for token in tokenizer.encode("Add 1 2.")}
    assert "Add" in {tokenizer.decode([token]) for token in tokenizer.encode("Add 1 2.")}, "merged: it is in the data"
    assert AutoModelForCausalLM.from_pretrained(run.folder / "student").config.vocab_size == len(tokenizer)

    checkpoint = run.folder / "checkpoints" / "last.ckpt"
    run(*scratch, "stage=test", f"ckpt_path={checkpoint}", sets=("train", "test"))  # the same tokenizer again


# ---------------------------------------------------------------------------------------- the other stages


@pytest.mark.parametrize(("stage", "name"), [("validate", "val"), ("test", "test")])
def test_validate_and_test_return_the_accuracy(run, stage, name, models):
    right = run(f"stage={stage}", f"objective={name}/accuracy", "module.verifier=numeric", sets=(name,))
    assert 0 <= right <= 1
    assert not (run.folder / "student").exists()


def test_predict_leaves_an_answer_to_each_prompt_in_order(run, lines):
    assert run("stage=predict", sets=("predict",)) is None
    written = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    asked = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["prompt"] for row in written] == [row["prompt"] for row in asked]
    assert [row["answer"] for row in written] == [row["answer"] for row in asked]
    assert all(isinstance(row["response"], str) for row in written)


def test_a_checkpoint_takes_the_place_of_the_configured_student(run, models):
    run()
    student, checkpoint = run.folder / "student", run.folder / "checkpoints" / "last.ckpt"
    trained = weights(student)

    run("stage=export", f"ckpt_path={checkpoint}", f"student.name={models}/other", sets=())
    exported = weights(run.folder / "student")
    assert exported.keys() == trained.keys()
    assert all(torch.equal(exported[name], trained[name]) for name in trained)

    run("stage=predict", f"ckpt_path={checkpoint}", f"student.name={models}/other", sets=("predict",))
    answers = (run.folder / "predictions.jsonl").read_text()
    run("stage=predict", f"student.name={student}", sets=("predict",))
    assert (run.folder / "predictions.jsonl").read_text() == answers


# ---------------------------------------------------------------------------------- loggers and callbacks


def test_several_loggers_at_once_each_in_its_folder(run):
    run("logger=[csv,tensorboard]")
    assert (run.folder / "csv" / "metrics.csv").exists()
    assert list((run.folder / "tensorboard").glob("events.*"))


def test_wandb_without_an_account_leaves_an_offline_run_for_each_job(run, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    for _ in range(2):  # as in a sweep: one process, several runs
        run("logger=wandb")
        (path,) = (run.folder / "wandb").glob("offline-run-*/run-*.wandb")
    records = list(read_records(path))
    given = {item.key or ".".join(item.nested_key): item for each in records for item in each.config.update}
    assert {"seed", "fusion", "optimizer", "data"} <= set(given)
    assert json.loads(given["optimizer"].value_json)["lr"] == 5e-6


@pytest.mark.parametrize("none", ["none", "[]"])
def test_without_loggers_and_callbacks_there_are_the_summary_and_the_configuration(run, none):
    run(f"logger={none}", f"callbacks={none}")
    left = sorted(path.name for path in run.folder.iterdir() if not path.name.startswith("."))
    assert left == ["config.yaml", "summary.json"]


@pytest.mark.parametrize(("callback", "folder"), [("checkpoint", "checkpoints"), ("export_student", "student")])
def test_a_callback_is_switched_off_by_null(run, callback, folder):
    run(f"callbacks.{callback}=null")
    left = {path.name for path in run.folder.iterdir()}
    assert {"checkpoints", "student"} - left == {folder}


def test_the_learning_rate_is_logged(run):
    run("callbacks=lr_monitor", "optimizer.lr=0.25", "scheduler=constant")
    rates = {rate for row in metrics_of(run) for name, rate in row.items() if name.startswith("lr-") and rate}
    assert rates == {"0.25"}


# ---------------------------------------------------------------------------------------------- debugging


@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled train dataloader shuffling")
@pytest.mark.parametrize(("debug", "steps"), [("fast", 1), ("overfit", 40), ("anomaly", 2), ("profile", 2)])
def test_debugging_runs(run, debug, steps):
    longer = ["trainer.max_steps=-1"] if debug == "overfit" else ["trainer.max_steps=2"]
    run(f"+debug={debug}", *longer, sets=("train", "val"))
    assert json.loads((run.folder / "summary.json").read_text())["steps"] == steps

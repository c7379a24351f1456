"""lm-evaluation-harness and ``stage=test`` agree on an exported student: docs/evaluation.md."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dopd_lightning.cli.stages import run_stage
from dopd_lightning.cli.summary import write_config
from dopd_lightning.data.verifiers import reasoning_gym
from dopd_lightning.errors import ConfigError

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------ the documented command


def documented(student: Path, run: Path) -> list[str]:
    """The command of the page, with a student's folder and a run's."""
    (found,) = re.findall(r"^python (-m lm_eval run .*dopd_held_out (?:.*\\\n)*.*)", PAGE, re.MULTILINE)
    found = found.replace("RUN/student", str(student)).replace("RUN", str(run))
    return [sys.executable, *shlex.split(found.replace("\\\n", " "))]


def test_the_harness_and_our_test_agree_problem_by_problem(configured, tmp_path):
    """The student is the quickstart's after a step of training, as its run exported it."""
    problems = ["+experiment=quickstart", "logger=none", "data.test.size=60", "data.eval_batch_size=7"]
    short = ["trainer.max_steps=1", "trainer.val_check_interval=null", "data.train.size=16", "data.val.size=1"]
    unmeasured = [f"evaluate.{who}=false" for who in ("teacher", "student_before", "student_after")]
    run_stage(configured(*problems, *short, *unmeasured, f"paths.output_dir={tmp_path / 'fit'}", bare=True))
    student, run = tmp_path / "fit" / "student", tmp_path / "test"
    problems.append(f"student.name={student}")
    accuracy = run_stage(configured(*problems, "stage=test", f"paths.output_dir={run}", bare=True))
    assert 0.1 < accuracy < 0.9, "some are right and some are wrong"
    predicted = ["stage=predict", "data.predict=${data.test}", f"paths.output_dir={tmp_path / 'predict'}"]
    run_stage(configured(*problems, *predicted, bare=True))
    ours = [json.loads(line) for line in (tmp_path / "predict" / "predictions.jsonl").read_text().splitlines()]

    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path)}
    ended = subprocess.run(
        documented(student, run), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 0, ended.stderr
    (results,) = (run / "lm_eval").glob("*/results_*.json")
    theirs = json.loads(results.read_text())["results"]["dopd_held_out"]["accuracy,none"]
    assert torch.tensor(theirs, dtype=torch.float32).item() == accuracy  # which Lightning keeps in float32
    (samples,) = (run / "lm_eval").glob("*/samples_dopd_held_out_*.jsonl")
    each = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda sample: sample["doc_id"])
    assert len(each) == len(ours) == 60
    for their, our in zip(each, ours, strict=True):
        assert json.loads(their["doc"]["prompt"]) == our["prompt"]
        assert their["resps"] == [[our["response"]]]


# ------------------------------------------------------------------------------------------------------- the task


@pytest.fixture(scope="module")
def held_out():
    """The module of the task."""
    spec = importlib.util.spec_from_file_location("held_out", ROOT / "examples" / "lm_eval_task" / "held_out.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def task_of(held_out, configured, tmp_path):
    """The task of a run's folder with this configuration and these problems."""

    def task(*overrides, problems=()):
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
        config = configured("stage=test", f"data.test.path={path if problems else 'null'}", *overrides)
        write_config(config, tmp_path)
        return held_out.HeldOut({"task": "dopd_held_out", "metadata": {"run": str(tmp_path)}})

    return task


CHAT = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1 + 1?"}]


def test_it_generates_greedily_up_to_the_run_s_limit_and_to_no_other_end(task_of):
    task = task_of("rollout.max_new_tokens=17", problems=[{"prompt": "1 + 1?", "answer": "2"}])
    assert task.config.generation_kwargs == {"do_sample": False, "max_gen_toks": 17, "until": []}


def test_a_chat_goes_to_the_template_with_all_its_messages(task_of):
    task = task_of(problems=[{"prompt": CHAT, "answer": "2"}])
    (doc,) = task.test_docs()
    assert task.fewshot_context(doc, chat_template=repr) == repr(CHAT)
    with pytest.raises(ConfigError, match="prompts are chats: add --apply_chat_template"):
        task.fewshot_context(doc)


def test_text_goes_as_it_is(task_of):
    task = task_of(problems=[{"prompt": "1 + 1?", "answer": "2"}])
    (doc,) = task.test_docs()
    assert task.fewshot_context(doc) == "1 + 1?"
    with pytest.raises(ConfigError, match="prompts are text: leave out --apply_chat_template"):
        task.fewshot_context(doc, chat_template=repr)


def test_the_run_s_verifier_scores_and_only_its_full_score_counts(task_of):
    entry = {"question": "?", "answer": "7", "metadata": {"source_dataset": "chain_sum"}}
    task = task_of("module.verifier=reasoning_gym", problems=[{"prompt": "?", "answer": "7", "entry": entry}] * 2)
    first, second = task.test_docs()
    assert task.process_results(first, ["<answer>7</answer>"]) == {"accuracy": 1.0}
    in_part = "<answer>1 + 6 = 7</answer>"
    assert 0 < reasoning_gym(in_part, {"prompt": "?", "entry": entry}) < 1
    assert task.process_results(second, [in_part]) == {"accuracy": 0.0}
    assert task.aggregation()["accuracy"]([1.0, 0.0]) == 0.5


def test_prompts_that_the_run_leaves_out_for_their_length_are_left_out(task_of):
    problems = [{"prompt": "Add 1 " * 50, "answer": "50"}, {"prompt": "1 + 1?", "answer": "2"}]
    task = task_of("prompt_format.max_tokens=20", "prompt_format.overlong=drop", problems=problems)
    assert [doc["answer"] for doc in task.test_docs()] == ["2"]


def test_a_run_that_showed_privileged_text_is_no_measure(task_of):
    with pytest.raises(ConfigError, match="showed privileged text to the student; here prompts are bare"):
        task_of("privileged.evaluation=true", problems=[{"prompt": "1 + 1?", "answer": "2"}])


def test_without_a_run_or_problems_it_says_what_to_give(held_out, task_of, tmp_path):
    with pytest.raises(ConfigError, match="--metadata: run=None must be the folder of a run"):
        held_out.HeldOut({"task": "dopd_held_out", "metadata": {}})
    with pytest.raises(ConfigError, match=r"had no data\.test; give the folder of a stage=test that had"):
        task_of()

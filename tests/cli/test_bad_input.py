"""What cannot work is said in a sentence: the config key, what was found, what would be right; before models load."""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from dopd_lightning.cli import build as building
from dopd_lightning.cli.main import main
from dopd_lightning.cli.stages import run_stage
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.policies import loading, new_policy, new_tokenizer


@pytest.fixture
def nothing_loads(monkeypatch):
    """Fail if the weights of any policy are read or made."""

    def refuse(*args, **kwargs):
        pytest.fail("a model was loaded")

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", refuse)
    monkeypatch.setattr(building, "new_policy", refuse)


@pytest.fixture
def complaint(configured):
    """The message with which a run ends."""

    def of(*overrides, **where):
        config = configured(*overrides, **where)
        with pytest.raises((ConfigError, DataError)) as error:
            run_stage(config)
        return str(error.value)

    return of


@pytest.fixture(scope="module")
def foreign(tmp_path_factory, make_policy):
    """A policy of another family: its tokens are others."""
    folder = tmp_path_factory.mktemp("foreign")
    tokenizer = new_tokenizer(["quite other words, quite other merges"], vocabulary_size=280)
    new_policy(make_policy().config.to_dict() | {"vocab_size": len(tokenizer)}, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.usefixtures("nothing_loads")
class TestBeforeAnyModelLoads:
    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            # not among the choices
            (["stage=trian"], "stage: 'trian' is not one of compare, export, fit, predict, privilege, test, validate"),
            (["stage=null"], "stage: None is not one of compare, export, fit, predict, privilege, test, validate"),
            (["fusion.normalize=l2"], "fusion.normalize: 'l2' is not one of minmax, none, zscore"),
            (["fusion.top_k_of=both"], "fusion.top_k_of: 'both' is not one of student, target"),
            (["fusion.regimes=HT"], "fusion.regimes: 'HT' must be a list, such as [HT]"),
            (["fusion.regimes=[LH,XX]"], "fusion.regimes: 'XX' is not one of HS, HT, LH, LL"),
            (["reference.kind=twin"], "reference.kind: 'twin' is not one of ema, model, snapshot, student"),
            (["rollout=mixed", "rollout.off_policy=web"], "rollout.off_policy: 'web' is not one of dataset, teacher"),
            (["module.verifier=vibes"], "module.verifier: 'vibes' is not one of exact, math_verify, numeric, reason"),
            (["module.reduction=sum"], "module.reduction: 'sum' is not one of rollout, token"),
            (["prompt_format.overlong=cut"], "prompt_format.overlong: 'cut' is not one of drop, fail"),
            (["trainer.precision=8"], "trainer: Precision 8 is invalid. Allowed precision values"),
            (["trainer.strategy=fast"], "trainer: You selected an invalid strategy name: `strategy='fast'`"),
            (["scheduler.name=steps"], "scheduler: steps is not a valid SchedulerType, please select one of ['linear'"),
            (["data.train.columns={prom: q}"], "data.train.columns: 'prom' is not one of answer, completion, privi"),
            # of the wrong type: on the command line, everything that is not a number is a text
            (["fusion.top_k=many"], "fusion.top_k: 'many' is str, and must be int"),
            (["rollout.max_new_tokens=2.5"], "rollout.max_new_tokens: 2.5 is float, and must be int"),
            (["data.batch_size=four"], "data.batch_size: 'four' is str, and must be int"),
            (["data.eval_batch_size=four"], "data.eval_batch_size: 'four' is str, and must be int or null"),
            (["optimizer.lr=small"], "optimizer.lr: 'small' is str, and must be float"),
            (["module.loss_temperature=hot"], "module.loss_temperature: 'hot' is str, and must be float"),
            (["trainer.max_steps=many"], "trainer.max_steps: 'many' is str, and must be int"),
            (["trainer.log_every_n_steps=x"], "trainer.log_every_n_steps: 'x' is str, and must be int or null"),
            (["scheduler.num_warmup_steps=x"], "scheduler.num_warmup_steps: 'x' is str, and must be int or null"),
            (["student.revision=1234567"], "student.revision: 1234567 is int, and must be null or str"),
            (["optimizer=sgd", "optimizer.lr=small"], "optimizer: '<' not supported between instances of 'str'"),
            (["seed=first"], "seed: 'first' must be a whole number from 0 to 4294967295"),
            # out of range
            (["seed=-1"], "seed: -1 must be a whole number from 0 to 4294967295"),
            (["optimizer.lr=-1"], "optimizer: Invalid learning rate: -1"),
            (["rollout.max_new_tokens=0"], "rollout.max_new_tokens: 0 must be at least 1"),
            (["module.loss_temperature=0"], "module.loss_temperature: 0 must be above 0"),
            (["privileged.student=2"], "privileged.student: 2 must be at least 0 and at most 1"),
            (["reference=ema", "reference.decay=2"], "reference.decay: 2 must be at least 0 and at most 1"),
            (["data.num_workers=-1"], "data.num_workers: -1 must be at least 0"),
            (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches: 0 must be at least 1"),
            (["fusion.top_k=5000"], "fusion.top_k: 5000 is above the vocabulary of 280 tokens; choose at most that"),
            # a key that is not there, or that nothing was given for
            (["+fusion.beta_heavy=1"], "fusion: DOPD.__init__() got an unexpected keyword argument 'beta_heavy'"),
            (["+trainer.steps=1"], "trainer: Trainer.__init__() got an unexpected keyword argument 'steps'"),
            (["+logger.csv.folder=x"], "logger.csv: CSVLogger.__init__() got an unexpected keyword argument 'folder'"),
            (["~scheduler"], "scheduler: there is none, and this run needs one"),
            (["~reference"], "reference: there is none, and this run needs one"),
            (["student.name=???"], "student.name: has no value, and must be given (student.name=…)"),
            (["teacher.name=???"], "teacher.name: has no value, and must be given (teacher.name=…)"),
            (["reference=model"], "reference.model.name: has no value, and must be given (reference.model.name=…)"),
            (["data.train=null"], "data.val.columns: ConfigTypeError raised while resolving interpolation"),
            (["name=${oops}"], "name: Interpolation key 'oops' not found"),
            (["fusion.top_k=${default:fusion.DOPD.k}"], "fusion.top_k: KeyError raised while resolving interpolation"),
            # parts that do not fit together
            (
                ["teacher=none"],
                "teacher: there is none, but the fusion rule needs one; give a model, or choose another",
            ),
            (["fusion.support=sampled", "rollout=dataset"], "fusion.support: 'sampled' needs responses that the stu"),
            (
                ["fusion.support=sampled", "rollout.top_p=0.9"],
                "rollout.top_p: 0.9 makes the loss one of another distribution",
            ),
            (["rollout.temperature=0"], "rollout.samples_per_prompt: 4 greedy responses (rollout.temperature=0) would"),
            (["precision=16-mixed"], "trainer.precision: '16-mixed' needs a GPU; choose precision=bf16-mixed or prec"),
            (
                ["trainer.accelerator=abacus"],
                "trainer: You selected an invalid accelerator name: `accelerator='ab",
            ),
            (["callbacks=lr_monitor", "logger=none"], "callbacks.lr_monitor: there is no logger to log to; choose one"),
            (
                ["trainer.max_epochs=-1", "trainer.max_steps=-1"],
                "trainer.max_steps: -1, with max_epochs=-1, never ends",
            ),
            (["trainer.val_check_interval=3"], "trainer.val_check_interval: 3 is above the 2 batches of an epoch; low"),
            (["student.name=/no/where"], "student: tokenizer '/no/where': there is no such folder"),
            (["teacher.name=./no/where"], "teacher: tokenizer './no/where': there is no such folder"),
            # checkpoints
            (["stage=export"], "ckpt_path: stage=export needs the checkpoint to export; give ckpt_path=<file>.ckpt"),
            (["ckpt_path=/no.ckpt"], "ckpt_path: '/no.ckpt': No such file or directory; give the path of a .ckpt file"),
            (["ckpt_path=."], "ckpt_path: '.': Is a directory; give the path of a .ckpt file"),
            # data
            (["data.train.path=no.jsonl"], "data.train: no.jsonl: no such file (looked for /"),
            (["data.train.path=."], "data.train: .: cannot be read as a JSON Lines file (Is a directory)"),
            (["data.train.path=null"], "(sets given: none); give data.train.path=…"),
            (["stage=predict"], "data.predict: this stage needs examples, and there are none"),
            (["stage=test"], "data.test: this stage needs examples, and there are none"),
            (["data.batch_size=5"], "data.train: 4 examples do not fill one batch of 5; lower batch_size or add data"),
            (["data.train.columns={prompt: q}"], "line 1: no 'q' (for 'prompt') among the keys 'prompt', 'privileged'"),
            (["prompt_format.privileged_text=x"], "prompt_format.privileged_text: 'x' must contain {prompt}"),
            (
                ["prompt_format.max_tokens=3"],
                "prompt_format: train: 4 of 4 prompts are longer than max_tokens=3 (the longest has 18, the first is at"
                " index 0); raise max_tokens, shorten them, or set overlong=drop",
            ),
            (
                ["rollout.max_new_tokens=500"],
                "prompt_format: train: 4 of 4 prompts are longer than the 12 tokens that the policies' positions leave",
            ),
            (
                ["rollout.max_new_tokens=600"],
                "rollout.max_new_tokens: 600 leaves no room for a prompt in the student's 512",
            ),
            (["prompt_format.max_tokens=3", "prompt_format.overlong=drop"], "dropping them would leave nothing"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_it_is_said(self, complaint, overrides, message):
        assert message in complaint(*overrides)

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["task=chainsum"], "data.train.task: 'chainsum' is no dataset of reasoning-gym; did you mean chain_sum"),
            (["hint=clue"], "data.train.hint: 'clue' is not one of answer, none, steps, steps_executed, summary"),
            (["size=0"], "data.train.size: 0 must be at least 1"),
            (["params={terms: 3}"], "data.train.params: 'terms' is not one of allow_negation, max_digits, max_terms"),
        ],
    )
    def test_generated_data(self, complaint, overrides, message):
        overrides = [f"data.train.{override}" for override in overrides]
        assert message in complaint("data=reasoning_gym", *overrides, sets=())

    def test_a_hub_dataset_without_a_name(self, complaint):
        assert complaint("data=hub", sets=()) == (
            "data.train: this stage needs examples, and there are none (sets given: none); give data.train.path=…"
        )

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{not json", "line 2: not JSON (Expecting property name enclosed in double quotes: line 1 column 2"),
            ('{"question": "?"}', "line 2: no 'prompt' among the keys 'question'"),
            ('{"prompt": 7}', "line 2: 'prompt' must be text or a list of chat messages, found int 7"),
        ],
    )
    def test_a_bad_line_is_named_with_its_file(self, complaint, tmp_path, line, message):
        path = tmp_path / "bad.jsonl"
        path.write_text('{"prompt": "fine"}\n' + line + "\n")
        assert f"data.train: {path}, {message}" in complaint(f"data.train.path={path}")

    def test_dropping_leaves_the_prompts_within_the_limit(self, complaint, caplog, lines, tmp_path):
        path = tmp_path / "mixed.jsonl"
        path.write_text(lines.read_text() + json.dumps({"prompt": "Add 1. " * 20}) + "\n")
        # The run gets as far as the student.
        overrides = [f"data.train.path={path}", "prompt_format.max_tokens=18", "student.dtype=float8"]
        assert "1 of 5 prompts are longer than max_tokens=18" in complaint(*overrides)
        assert complaint(*overrides, "prompt_format.overlong=drop").startswith("student.dtype: ")
        assert "train: 1 of 5 prompts are longer than max_tokens=18" in caplog.text

    @pytest.mark.parametrize("role", ["teacher", "reference.model"])
    def test_other_tokenizers_are_refused_with_a_token_that_differs(self, complaint, foreign, role):
        message = complaint(*(["reference=model"] if role != "teacher" else []), f"{role}.name={foreign}")
        short = role.partition(".")[0]
        assert re.match(rf"{role}: student and {short} have different tokenizers: (id \d+ is )?token '", message)
        assert message.endswith(f"choose a {short} of the student's family.")

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (
                ["trainer.strategy=fsdp"],
                "trainer.strategy: 'fsdp' is not supported: .* use the config group, strategy=fsdp",
            ),
            (["trainer.strategy=deepspeed_stage_3"], "trainer.strategy: 'deepspeed_stage_3' is not supported"),
            (
                ["strategy=fsdp", "precision=16-mixed"],
                "trainer.precision: '16-mixed' scales losses, .* use precision=bf16",
            ),
        ],
    )
    def test_strategies_that_cannot_work(self, complaint, overrides, message):
        assert re.match(message, complaint(*overrides))

    @pytest.mark.parametrize("content", [b"junk", b"", {"weights": 1}, [1]])
    def test_a_file_that_is_no_checkpoint(self, complaint, tmp_path, content):
        path = tmp_path / "other.ckpt"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        message = complaint(f"ckpt_path={path}")
        assert re.sub(r", or not all of one \(\d+ bytes\)", "", message) == (
            f"ckpt_path: '{path}' is not a checkpoint of a run; give the path of a .ckpt file"
        )

    def test_an_empty_student_without_data_to_learn_a_tokenizer_from(self, complaint):
        scratch = ["student=scratch", "teacher=none", "fusion=data", "rollout=dataset", "stage=test"]
        message = complaint(*scratch, sets=("test",))
        assert message == "student.tokenizer: null learns one from data.train, which is not there; name a tokenizer"
        assert "student: tokenizer '/no/where'" in complaint(*scratch, "student.tokenizer=/no/where", sets=("test",))


def test_it_is_said_before_the_first_step(complaint):
    message = "student.dtype: 'float8' is not one of auto, bfloat16, float16, float32"
    assert message in complaint("student.dtype=float8")


@pytest.mark.parametrize("field", ["hidden_size=wide", "model_type=qwen99"])
def test_an_architecture_that_cannot_be_built(complaint, field):
    scratch = ["student=scratch", "teacher=none", "fusion=data", "rollout=dataset", f"student.architecture.{field}"]
    assert re.match(r"student: architecture \(model_type '\w+'\) cannot be built: .*", complaint(*scratch))
    assert field.partition("=")[2] in complaint(*scratch)


def test_data_without_completions_for_a_rollout_from_the_data(complaint, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "Add 1 2."}\n' * 2)
    message = complaint("fusion=teacher", "rollout=dataset", f"data.train.path={path}")
    assert "example 0 of the batch has no `completion`" in message
    assert message.endswith("add one to the data or choose rollout=student")


@pytest.mark.parametrize("stage", ["fit", "test", "export"])
def test_a_checkpoint_of_another_student_is_refused_before_anything_is_evaluated(
    complaint, tmp_path, make_policy, monkeypatch, stage
):
    """Also for ``fit``, which would first measure the teacher and the student for minutes."""
    other = {f"student.{name}": value for name, value in make_policy(0, hidden_size=48).state_dict().items()}
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": other}, path)
    monkeypatch.setattr("lightning.Trainer.test", lambda *args, **kwargs: pytest.fail("it was evaluated"))
    message = complaint(f"stage={stage}", f"ckpt_path={path}", sets=("train", "test"))
    assert message.startswith("ckpt_path: the checkpoint is of another student or reference: student.")
    assert "(280, 48) in it and (280, 32) in this configuration" in message


def test_a_resolver_that_fails_is_named(complaint):
    assert "Unsupported interpolation type nosuch" in complaint("name=${nosuch:x}")


# ----------------------------------------------------------------- what Hydra itself says, before there is a run


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("fusion=magic", ["Could not find 'fusion/magic'", "Available options in 'fusion'", "\tdopd\n", "\tteacher\n"]),
        ("precision=8bit", ["Could not find 'precision/8bit'", "\t32-true\n"]),
        ("fusion.beta_heavy=1", ["Could not override 'fusion.beta_heavy'", "use +fusion.beta_heavy=1"]),
        ("experiment=quickstart", ["Could not override 'experiment'", "use +experiment=quickstart"]),
    ],
)
def test_an_unknown_choice_or_key_on_the_command_line(monkeypatch, capsys, override, said):
    monkeypatch.setattr(sys, "argv", ["dopd_lightning", override])
    with pytest.raises(SystemExit, match="1"):
        main()
    GlobalHydra.instance().clear()
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for part in said:
        assert part in message

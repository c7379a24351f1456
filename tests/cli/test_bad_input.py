"""Errors for bad input: one sentence with the place, the value found and what would be right, before models load.

The inputs are in `bad_inputs.txt`, one a line.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from lightning.fabric.utilities.exceptions import MisconfigurationException

from dopd_lightning.cli import build as building
from dopd_lightning.cli.failure import _SAID_IN_A_SENTENCE
from dopd_lightning.cli.main import main
from dopd_lightning.cli.stages import run_stage
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.policies import loading
from tests.cli.odd_files import make_odd_files
from tests.conftest import ARCHITECTURE

SECONDS = 60
"""More than any input may take, on a busy machine."""
TABLE = (Path(__file__).parent / "bad_inputs.txt").read_text(encoding="utf-8")
CASES = [line.split(" | ") for line in TABLE.splitlines() if line and not line.startswith("#")]
WORD = re.compile(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""")


@pytest.fixture
def nothing_loads(monkeypatch):
    """Fail if the weights of any policy are read or made."""

    def refuse(*args, **kwargs):
        pytest.fail("a model was loaded")

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", refuse)
    monkeypatch.setattr(building, "new_policy", refuse)


@pytest.fixture
def ends_soon():
    """Fail what hangs, such as on a pipe that nobody writes to."""

    def ring(number, frame):
        pytest.fail(f"it took more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def odd_files(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("odd")
    make_odd_files(folder, ARCHITECTURE, tokenizer)
    return folder


@pytest.fixture
def complaint(configured, monkeypatch):
    """The message with which a run ends."""
    for key in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(key, raising=False)

    def of(*overrides, **where):
        config = configured(*overrides, **where)
        with pytest.raises(_SAID_IN_A_SENTENCE) as error:
            run_stage(config)
        return str(error.value)

    return of


@pytest.mark.usefixtures("nothing_loads", "ends_soon")
@pytest.mark.parametrize(
    ("overrides", "parts"), [(case[0].strip(), case[1:]) for case in CASES], ids=lambda value: value
)
def test_it_is_said_before_any_model_loads(complaint, odd_files, models, lines, overrides, parts):
    def filled(text):
        return text.replace("{files}", str(odd_files)).replace("{models}", str(models)).replace("{lines}", str(lines))

    words = WORD.findall(filled(overrides))
    brings_data = any(word.startswith(("data=", "+experiment=")) for word in words)
    bare = "stage=compare" in words or any(word.startswith("+experiment=") for word in words)
    message = complaint(*words, sets=() if brings_data else ("train",), bare=bare)
    for part in parts:
        assert filled(part.strip()) in message
    assert "\n" not in message, "it is one sentence"


def test_the_table_says_nothing_twice():
    overrides = [case[0].strip() for case in CASES]
    assert len(CASES) >= 400
    assert all(len(case) > 1 for case in CASES)
    assert len(set(overrides)) == len(overrides)


def test_dropping_leaves_the_prompts_within_the_limit(complaint, caplog, lines, tmp_path, monkeypatch):
    def reached(*args):
        raise ConfigError("student: the run got this far")

    monkeypatch.setattr(building, "_student", reached)
    path = tmp_path / "mixed.jsonl"
    path.write_text(lines.read_text() + json.dumps({"prompt": "Add 1. " * 20}) + "\n")
    overrides = [f"data.train.path={path}", "prompt_format.max_tokens=18"]
    assert "1 of 5 prompts are longer than max_tokens=18" in complaint(*overrides)
    assert complaint(*overrides, "prompt_format.overlong=drop") == "student: the run got this far"
    assert "train: 1 of 5 prompts are longer than max_tokens=18" in caplog.text


@pytest.mark.parametrize("content", [b"junk", b"", {"weights": 1}, [1]])
def test_a_file_that_is_no_checkpoint(complaint, tmp_path, content):
    path = tmp_path / "other.ckpt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    message = complaint(f"ckpt_path={path}")
    assert message.startswith(f"ckpt_path: '{path}' is not a checkpoint of a run")
    assert "; give " in message


def test_an_empty_student_without_data_to_learn_a_tokenizer_from(complaint):
    scratch = ["student=scratch", "teacher=none", "fusion=data", "rollout=dataset", "stage=test"]
    message = complaint(*scratch, sets=("test",))
    assert message == "student.tokenizer: null learns one from data.train, which is not there; name a tokenizer"


@pytest.mark.parametrize("field", ["hidden_size=wide", "model_type=qwen99", "model_type=t5"])
def test_an_architecture_that_cannot_be_built(complaint, field):
    scratch = ["student=scratch", "teacher=none", "fusion=data", "rollout=dataset", f"student.architecture.{field}"]
    message = complaint(*scratch)
    assert re.match(r"student: architecture \(model_type '\w+'\) cannot be built: .*", message)
    assert field.partition("=")[2] in message


@pytest.mark.parametrize("stage", ["test", "export"])
def test_a_checkpoint_of_another_student_is_refused_before_anything_is_evaluated(
    complaint, tmp_path, make_policy, monkeypatch, stage
):
    other = {f"student.{name}": value for name, value in make_policy(0, hidden_size=48).state_dict().items()}
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": other, "pytorch-lightning_version": "2.5.0"}, path)
    monkeypatch.setattr("lightning.Trainer.test", lambda *args, **kwargs: pytest.fail("it was evaluated"))
    message = complaint(f"stage={stage}", f"ckpt_path={path}", sets=("train", "test"))
    assert message.startswith("ckpt_path: the checkpoint is of another student or source: student.")
    assert "(280, 48) in the checkpoint and (280, 32) in this run" in message


# ----------------------------------------------------------------- what Hydra itself says, before there is a run


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("fusion=magic", ["Could not find 'fusion/magic'", "Available options in 'fusion'", "\tdopd\n", "\tteacher\n"]),
        ("precision=8bit", ["Could not find 'precision/8bit'", "\t32-true\n"]),
        ("fusion.beta_heavy=1", ["Could not override 'fusion.beta_heavy'", "use +fusion.beta_heavy=1"]),
        ("experiment=quickstart", ["Could not override 'experiment'", "use +experiment=quickstart"]),
        ("fusion=[magic]", ["Could not load 'fusion/magic'"]),
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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fusion=null", "fusion: null is not one of confidence, data, dopd"),
        (
            "+experiment=study/table1",
            "experiment: 'study/table1' is a choice of the study, whose configurations are not in the package; "
            "in a checkout of dopd-lightning, add --config-dir study/conf, or run python -m study table1",
        ),
        ("+experiment=quickstart,study/table8", "experiment: 'study/table8' is a choice of the study, whose"),
        ("+experiment=[study/table8]", "experiment: 'study/table8' is a choice of the study, whose"),
        ("student=scratch/study_student", "student: 'scratch/study_student' is a choice of the study, whose"),
        ("fusion=3", "fusion: 3 is not one of confidence, data, dopd"),
        ("fusion/method=true", "fusion/method: True is not one of "),
        ("name=../evil", "name: '../evil' must stay below paths.runs"),
    ],
)
@pytest.mark.parametrize("sweep", [[], ["-m", "seed=1,2"]], ids=["run", "sweep"])
def test_a_mistake_that_would_make_a_folder_or_a_traceback_in_hydra(monkeypatch, tmp_path, override, message, sweep):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dopd_lightning", *sweep, "paths.runs=below/runs", override])
    with pytest.raises(SystemExit) as ended:
        main()
    GlobalHydra.instance().clear()
    assert ended.value.code.startswith(f"\nerror: {message}")
    assert not any(tmp_path.iterdir())


# ------------------------------------------------------------------------------- what is left on the console of it


@pytest.fixture
def run_main(monkeypatch, tmp_path):
    """Run the command line in this process, in a folder of its own."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        quiet = [f"hydra.run.dir={tmp_path}/run", "hydra/job_logging=none", "hydra/hydra_logging=none"]
        monkeypatch.setattr(sys, "argv", ["dopd_lightning", *arguments, *quiet])
        try:
            main()
        finally:
            GlobalHydra.instance().clear()

    return run


def test_a_mistake_is_one_line_and_a_traceback_on_request(run_main, monkeypatch, capsys):
    mistake = ["student.name=a", "teacher.name=b", "data.train.path=c", "optimizer.lr=inf"]
    with pytest.raises(SystemExit) as ended:
        run_main(*mistake)
    assert ended.value.code == "\nerror: optimizer.lr: inf must be a finite number"
    assert "Traceback" not in "".join(capsys.readouterr())
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError):
        run_main(*mistake)


@pytest.mark.parametrize("error", [MisconfigurationException("of\n\n    Lightning"), DataError("of Lightning")])
def test_what_lightning_says_of_several_lines_is_one(run_main, monkeypatch, error):
    def fail(config):
        raise error

    monkeypatch.setattr("dopd_lightning.cli.main.run_stage", fail)
    with pytest.raises(SystemExit) as ended:
        run_main()
    assert ended.value.code == "\nerror: of Lightning"

"""``stage=privilege`` from the command line's configuration to a file that ``data=jsonl`` reads."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from omegaconf import OmegaConf

pytest.importorskip("httpx")
pytest.importorskip("py3langid")

from dopd_lightning.cli.stages import run_stage
from dopd_lightning.data import JsonlDataset
from dopd_lightning.errors import ConfigError, DataError, EngineError

HINT = "Step 1: add the two numbers that the question has."


@pytest.fixture
def staged(configured, lines, tmp_path):
    """Run the stage on the four sums; the folder that it leaves."""

    def run(*overrides, **fields):
        base = ["stage=privilege", f"data.train.path={lines}"]
        assert run_stage(configured(*base, *overrides, bare=True, **fields)) is None
        return tmp_path / "run"

    return run


def test_from_prompts_to_hints_by_a_server_and_into_a_run(staged, configured, chat_server, lines, capsys):
    folder = staged(
        *("privilege.kind=steps", f"privilege.writer.url={chat_server.url}", "privilege.writer.model=writer"),
        *(
            "privilege.writer.options={chat_template_kwargs: {enable_thinking: false}}",
            "privilege.allowed_numbers=[60]",
        ),
        "trainer.enable_progress_bar=true",
    )
    assert chat_server.requests[0]["chat_template_kwargs"] == {"enable_thinking": False}
    written, given = JsonlDataset(folder / "hints.jsonl"), JsonlDataset(lines)
    assert [example | {"privileged": None} for example in written] == [
        example | {"privileged": None} for example in given
    ]
    assert {example["privileged"] for example in written} == {"Step 1: add. Step 2: subtract."}
    assert (folder / "dropped.jsonl").read_text() == ""
    printed = capsys.readouterr().out
    assert "4 of 4 rows have a hint: steps" in printed
    assert "40 read, 12 written" in printed
    assert re.search(r"writing .* 4/4 \d+\.\d\d/s", printed)
    kept = OmegaConf.load(folder / "config.yaml")
    assert (kept.stage, kept.privilege.writer.model, kept.privilege.attempts) == ("privilege", "writer", 1)
    report = run_stage(configured(f"data.train.path={folder}/hints.jsonl", "trainer.max_steps=1", sets=()))
    assert report is None


def test_a_run_in_which_every_row_failed_ends_in_an_error(configured, chat_server, lines, tmp_path):
    chat_server.reply = lambda message, number: {"content": b"no", "status": 400}
    url = f"privilege.writer.url={chat_server.url}"
    with pytest.raises(EngineError, match=r"all 4 rows failed, as .*dropped\.jsonl says; the same command with"):
        run_stage(configured("stage=privilege", f"data.train.path={lines}", url, bare=True))
    assert len((tmp_path / "run" / "dropped.jsonl").read_text().splitlines()) == 4


def test_so_does_one_in_which_no_hint_passed(configured, chat_server, lines, tmp_path):
    chat_server.reply = lambda message, number: "word " * 300
    url = f"privilege.writer.url={chat_server.url}"
    with pytest.raises(DataError, match=r"^privilege: no row has a hint; .*/run/dropped\.jsonl says why of each"):
        run_stage(configured("stage=privilege", f"data.train.path={lines}", url, bare=True))
    assert len((tmp_path / "run" / "dropped.jsonl").read_text().splitlines()) == 4


def test_from_prompts_to_hints_by_a_model_in_this_process(staged, make_policy, tokenizer, tmp_path, lines):
    policy = make_policy(5)
    policy.generation_config.eos_token_id = [*range(3, 280, 2), tokenizer.eos_token_id]
    for part in (policy, tokenizer):
        part.save_pretrained(tmp_path / "writer")
    (tmp_path / "own.jinja").write_text("{{ question }}")
    folder = staged(
        *("privilege/writer=local", f"privilege.writer.name={tmp_path}/writer", "privilege.writer.device=cpu"),
        *("privilege.writer.max_new_tokens=16", "privilege.writer.batch_size=3", "privilege.language=any"),
        *(f"privilege.template={tmp_path}/own.jinja", "privilege.kind=steps_executed", "privilege.attempts=3"),
    )
    report = json.loads((folder / "report.json").read_text())
    assert report["kept"] + report["dropped"] + report["failed"] == report["rows"] == 4
    assert report["kept"] > 0
    assert report["tokens"]["completion"] >= report["hints"]
    assert len(JsonlDataset(folder / "hints.jsonl")) == report["kept"]


def test_kinds_that_need_no_model_need_no_server(staged):
    folder = staged("privilege.kind=answer")
    assert [example["privileged"] for example in JsonlDataset(folder / "hints.jsonl")] == [
        f"The final answer is {n + 2}." for n in range(4)
    ]


def test_other_sources_of_data(configured, chat_server, tmp_path):
    chat_server.reply = lambda message, n: HINT
    overrides = ("data=reasoning_gym", "data.train.size=3", "data.train.completions=true")
    run_stage(configured("stage=privilege", *overrides, f"privilege.writer.url={chat_server.url}", bare=True))
    written = JsonlDataset(tmp_path / "run" / "hints.jsonl")
    assert [example["privileged"] for example in written] == [HINT] * 3
    assert all("<answer>" in example["completion"] for example in written)


def test_what_is_wrong_is_said_with_its_key(staged, chat_server, tmp_path):
    for overrides, error, message in [
        (["data.train.path=null"], ConfigError, "data.train.path: there is none"),
        (["data.train.path=nowhere.jsonl"], DataError, "data.train: nowhere.jsonl: no such file"),
        (["privilege.kind=stepz"], ConfigError, "privilege.kind: 'stepz' is not one of"),
        (["privilege.attempts=two"], ConfigError, "privilege.attempts: 'two' is str, and must be int"),
        (["privilege.template=nowhere"], ConfigError, "privilege.template: 'nowhere' cannot be read"),
        (["privilege.language=xx"], ConfigError, "privilege.language: 'xx' is not one of"),
        (["privilege.writer.timeout=0"], ConfigError, "privilege.writer.timeout: 0 must be above 0"),
        (["privilege.writer.api_key_env=NOT_SET"], ConfigError, "privilege.writer.api_key_env: there is no"),
        (["privilege.writer.url=http://127.0.0.1:9/v1"], ConfigError, "privilege.writer.url: no server answers at"),
        ([f"privilege.writer.url={chat_server.url}/x"], ConfigError, "privilege.writer.model: the server at"),
        (["privilege/writer=local"], ConfigError, "privilege.writer.name: has no value, and must be given"),
        (["seed=-1"], ConfigError, "seed: -1 must be"),
    ]:
        with pytest.raises(error) as raised:
            staged(*overrides)
        assert str(raised.value).startswith(message), str(raised.value)
    assert not (tmp_path / "run" / "hints.jsonl").exists()


def test_a_folder_with_other_settings_is_refused_with_the_key(staged, chat_server):
    staged(f"privilege.writer.url={chat_server.url}")
    with pytest.raises(
        ConfigError, match=r"^privilege\.max_words: 7, but .*/run/journal\.jsonl was started with 200; use the same"
    ):
        staged(f"privilege.writer.url={chat_server.url}", "privilege.max_words=7")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_and_leaves_what_is_needed_to_go_on(staged, chat_server, tmp_path, capsys, number):
    chat_server.reply = lambda message, n: HINT if n == 1 else {"content": HINT, "pause": 60}
    before = signal.getsignal(number)
    threading.Thread(target=_send_when, args=(chat_server, 3, number), daemon=True).start()
    overrides = (f"privilege.writer.url={chat_server.url}", "privilege.writer.concurrency=2")
    with pytest.raises(SystemExit) as stopped:
        staged(*overrides)
    assert stopped.value.code == 128 + number
    assert signal.getsignal(number) is before
    assert f"stopped by {number.name}; go on with the same command and paths.output_dir=run" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "run").glob("*.jsonl")) == ["journal.jsonl"]

    chat_server.reply = lambda message, n: HINT
    asked = len(chat_server.requests)
    assert len(JsonlDataset(staged(*overrides) / "hints.jsonl")) == 4
    assert len(chat_server.requests) - asked == 3


def _send_when(server, requests, number):
    while len(server.requests) < requests:
        time.sleep(0.01)
    os.kill(os.getpid(), number)


def test_a_command_that_is_stopped_says_so_and_no_more(chat_server, lines, tmp_path):
    """The signal is that of a user or of SLURM."""
    chat_server.reply = lambda message, n: HINT if n == 1 else {"content": HINT, "pause": 60}
    command = [sys.executable, "-m", "dopd_lightning", "stage=privilege", f"data.train.path={lines}"]
    command += [f"privilege.writer.url={chat_server.url}", "privilege.writer.concurrency=2", "paths.output_dir=out"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 300
    while len(chat_server.requests) < 3:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, printed
    assert "stopped by SIGTERM; go on with the same command and paths.output_dir=out" in printed
    assert "Traceback" not in printed
    assert "HTTP Request" not in printed, "not a line for each request"

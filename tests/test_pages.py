"""Every command and every snippet of the documentation works, as its page shows it.

They are taken from the pages, so that a new one is tried without a line here. They are run beside the files and the
models that the pages speak of, which here are tiny, and with less of what takes time (``BESIDE``). A few are not run
(``NOT_RUN``), and a few are run as processes of their own (``AS_PROCESSES``).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import open_dict

from dopd_lightning.cli.failure import SWEEP
from dopd_lightning.cli.hydra_callbacks import BEGAN, NewFolder
from dopd_lightning.cli.instantiate import check_complete
from dopd_lightning.cli.resolvers import register_resolvers
from dopd_lightning.cli.stages import run_stage
from tests.chat_server import ChatServer
from tests.data.paper_rows import SETS, write
from tests.pages import LANGUAGES, PAGES, ROOT, Command, blocks, commands

ELSEWHERE = ["student.name=Qwen/Qwen3-0.6B", "teacher.name=Qwen/Qwen3-4B", "data.train.path=train.jsonl"]
"""Words for `…`: those whose key the command does not give itself."""

BESIDE = {
    r"": [
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "trainer.enable_progress_bar=false",
        "rollout.max_new_tokens=4",
    ],
    r"experiment=quickstart": [
        *("data.train.size=64", "data.val.size=2", "data.test.size=4"),
        *("trainer.max_steps=1", "trainer.val_check_interval=null", "~logger.wandb"),
    ],
    r"experiment=paper": ["trainer.max_steps=1", "data.batch_size=2"],
    **{
        rf"data={name}": ["data.train.path=parquet", f"data.train.data_files={name}.parquet", "data.train.split=train"]
        for name in SETS
    },
}
"""Words added to a page's commands, by a pattern: this machine, fewer tokens, steps and
problems, and the paper's sets from files."""

NOT_RUN = {
    r"^git clone|^cd ": "there is no network",
    r"pip install": "changes the environment; that the package has the extra is looked up",
    r"^make ": "runs these tests; that there is such a target is looked up",
    r"-m pytest|/ruff ": "runs these tests",
    r"^python -m venv|vllm serve": "needs vLLM",
    r"engine=vllm_server": "needs vLLM: composed; tests/rollout has a stand-in for the server",
    r"^if|^then|^fi$": "needs SLURM",
    r"^torchrun|^srun|strategy=(ddp|fsdp)": "needs several GPUs: composed; tests/distributed has two processes",
    r"hydra/launcher=": "needs a cluster: composed; tests/cli/test_launchers.py has a launcher of this machine",
    r"--config-dir": "has a configuration of its own: tests/training/test_rule.py runs it",
    r"-m lm_eval": "takes a minute: tests/test_lm_eval.py runs it",
    r"-m benchmarks": "takes minutes: the module is looked up; tests/benchmarks runs it with --quick",
    r"-m study": "takes hours: its words are parsed; tests/study runs what it makes of them",
    r"-m dopd_lightning --help": "tests/conf/test_compose.py runs it",
}
"""Commands that are not run here, by a pattern, and why."""

AS_PROCESSES = [
    r"student.name=Qwen/Qwen3-0.6B teacher.name=Qwen/Qwen3-4B data.train.path=prompts.jsonl prompt_format",
    r"stage=compare",
    r"… ckpt_path=auto",
]
"""Commands that are run as a user does, as processes; the others are run in this one, without its imports."""

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


# ------------------------------------------------------------------------------- the models and files of the pages


def sums(count: int, **fields) -> list[dict]:
    prompts = [[{"role": "user", "content": f"What is {n} + 34 - 5?"}] for n in range(20, 20 + count)]
    rows = [{"prompt": prompt, "answer": str(n + 49), **fields} for n, prompt in enumerate(prompts)]
    return [row | {"completion": f"First add. The result is {row['answer']}."} for row in rows]


@pytest.fixture(scope="session")
def hub(tmp_path_factory, make_policy, tokenizer) -> Path:
    """A folder of the models that the pages name, each in a folder of that name, where transformers looks first."""
    folder = tmp_path_factory.mktemp("hub")
    text = "".join(page.read_text(encoding="utf-8") for page in [*PAGES, *(ROOT / "conf").rglob("*.yaml")])
    for name in sorted(set(re.findall(r"Qwen/Qwen3-[\d.]+B", text))):
        small = float(name.rpartition("-")[2][:-1]) < 2
        width = 32 if small else 64  # on some CPUs, int4 takes multiples of 64
        shape = {"hidden_size": width, "intermediate_size": 2 * width, "head_dim": width // 2, "num_key_value_heads": 2}
        make_policy(small, max_position_embeddings=2048, **shape).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


@pytest.fixture
def desk(hub, tmp_path, monkeypatch) -> Iterator[SimpleNamespace]:
    """A folder to work in, with the files that pages speak of, and a server that writes hints."""
    monkeypatch.chdir(tmp_path)
    for name in (BEGAN, SWEEP):  # which runs set
        monkeypatch.setenv(name, "")
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "Qwen").symlink_to(hub / "Qwen")
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "student").symlink_to(hub / "Qwen" / "Qwen3-0.6B")
    (line,) = map(json.loads, blocks(ROOT / "README.md", "json"))
    for name, rows in {
        "prompts": [line | row for row in sums(8)],  # as many as the README asks for
        "train": sums(8, privileged="Add, then subtract."),
        "val": sums(2),
        "problems": sums(2),
        "domains": [row | {"subject": ("algebra", "history")[n % 2]} for n, row in enumerate(sums(8))],
    }.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, rows in SETS.items():
        write(rows, tmp_path / f"{name}.parquet")
    (template,) = blocks(ROOT / "docs" / "paper.md", "jinja")
    (tmp_path / "hint.jinja").write_text(template)
    server = ChatServer()
    server.models = ("Qwen/Qwen3-32B",)
    server.reply = lambda message, number: "PASS" if "FAIL:" in message else "Add the numbers in the question first."
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield SimpleNamespace(folder=tmp_path, here={"http://127.0.0.1:8000/v1": server.url}, ran=set())
    server.shutdown()
    server.server_close()
    HydraConfig.instance().cfg = None


# ----------------------------------------------------------------------------------------- the commands of a page


def overrides_of(command: Command) -> list[str]:
    """The words behind ``-m dopd_lightning``, with what is given elsewhere on the page put in its place."""
    words = [*command.words[command.words.index("dopd_lightning") + 1 :]]
    words = [next(w for w in ELSEWHERE if w.startswith(word[:-1])) if word.endswith("=…") else word for word in words]
    given = {word.partition("=")[0] for word in words}
    missing = [word for word in ELSEWHERE if word.partition("=")[0] not in given]
    return [part for word in words for part in (missing if word == "…" else [word])]


def jobs_of(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, as Hydra makes them; of a search, its first guess."""
    choices = []
    for override in OverridesParser.create().parse_overrides([word for word in overrides if word != "-m"]):
        if override.is_interval_sweep():
            choices.append([f"{override.get_key_element()}={override.value().start}"])
        elif override.is_sweep_override():
            choices.append([f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([override.input_line])
    return [[*job] for job in itertools.product(*choices)]


def composed(overrides: list[str], sweep: bool = False):
    """The configuration that a command gives, its folder the one that Hydra would make for it."""
    register_resolvers()
    with initialize_config_module("dopd_lightning.conf", version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    NewFolder().on_multirun_start(config) if sweep else NewFolder().on_run_start(config)
    with open_dict(config):
        config.hydra.job.num = 0
        where = config.hydra.sweep.dir + "/" + config.hydra.sweep.subdir if sweep else config.hydra.run.dir
        config.hydra.runtime.output_dir = where
        HydraConfig.instance().set_config(config)
        del config["hydra"]
    return config


def look_up(command: Command) -> None:
    """Check as much of a command as is possible without running it."""
    text = str(command)
    for extras in re.findall(r"pip install.* \.\[(.*)\]", text):
        assert {*extras.split(",")} <= EXTRAS.keys()
    if command.words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {*command.words[1:]} <= {*targets}
    if "-m benchmarks" in text:
        assert find_spec(command.words[2])
    if "-m study" in text:
        from study.__main__ import _arguments

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [*command.words[2:]])
            assert isinstance(_arguments(), argparse.Namespace)
    if "dopd_lightning" in command.words and not {"--help", "--config-dir"} & {*command.words}:
        for job in jobs_of(overrides_of(command)):
            check_complete(composed(job))


def run(command: Command, desk: SimpleNamespace) -> None:
    """Run what the command says; of a sweep, compose every job and run the last."""
    if command.words[0] == "cat":
        subprocess.run(["bash", "-c", str(command)], check=True)
        return
    assert command.words[:3] == ("python", "-m", "dopd_lightning"), "a command that the tests do not know: see NOT_RUN"
    overrides = overrides_of(command)
    for page, here in desk.here.items():
        overrides = [word.replace(page, here) for word in overrides]
    beside = [word for pattern, words in BESIDE.items() if re.search(pattern, str(command)) for word in words]
    if any(re.search(pattern, str(command)) for pattern in AS_PROCESSES):
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        process = [sys.executable, "-m", "dopd_lightning", *overrides, *beside]
        ended = subprocess.run(process, env=environment, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        return
    jobs = [composed([*job, *beside], sweep="-m" in overrides) for job in jobs_of(overrides)]
    if str(jobs[-1]) not in desk.ran:
        run_stage(jobs[-1])
        if jobs[-1].stage == "fit":
            assert {"student", "summary.json"} <= {path.name for path in Path(jobs[-1].paths.output_dir).iterdir()}
    desk.ran.add(str(jobs[-1]))


@pytest.mark.filterwarnings("ignore:The number of training batches")  # of so few problems
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_works(page, desk):
    for command in commands(page):
        try:
            if any(re.search(pattern, str(command)) for pattern in NOT_RUN):
                look_up(command)
            else:
                run(command, desk)
        except BaseException as error:
            error.add_note(f"{command.where}: {command}")
            raise


@pytest.mark.parametrize("pattern", [*NOT_RUN, *filter(None, BESIDE), *AS_PROCESSES])
def test_every_exception_is_of_a_command_that_is_there(pattern):
    assert any(re.search(pattern, str(command)) for page in PAGES for command in commands(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_says_what_it_is(page):
    found = re.findall(r"^```(\w*)\n.*?^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert {*found} <= LANGUAGES


def test_a_page_with_a_wrong_command_fails(tmp_path):
    page = ROOT / "docs" / "data.md"
    (command, *_) = commands(page)
    assert "dopd_lightning" in command.words
    wrong = Command((*command.words, "data.train.colums={}"), command.where)
    with pytest.raises(Exception, match="colums"):
        look_up(wrong)


# ----------------------------------------------------------------------------------------- the snippets of a page


def logits() -> torch.Tensor:
    return torch.randn(2, 3, 200, requires_grad=True)


GIVEN = {
    "L": L,
    "student_logits": logits(),
    "teacher_logits": logits(),
    "reference_logits": logits(),
    "response_ids": torch.randint(200, (2, 3)),
    "mask": torch.ones(2, 3, dtype=torch.bool),
}
"""Names that snippets use and do not define."""

SHORTER = {"max_steps=100": "max_steps=2", "        …": "        ..."}
"""Replacements in snippets: their duration, and the rest of a script that has its own test."""


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.relative_to(ROOT).as_posix()
)
@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_every_snippet_runs(page, desk):
    names = dict(GIVEN)
    for snippet in blocks(page, "python"):
        for old, new in {**SHORTER, **desk.here}.items():
            snippet = snippet.replace(old, new)
        if "/…/" in snippet:  # of a run that has a folder
            config = composed(["+experiment=quickstart", *BESIDE[""], *BESIDE["experiment=quickstart"]])
            run_stage(config)
            snippet = snippet.replace("…", Path(config.paths.output_dir).name).replace("step=50", "step=1")
        exec(compile(snippet, page.name, "exec"), names)


def test_the_snippet_of_a_callback_is_of_the_script_beside_it():
    script = (ROOT / "examples" / "hardest_tokens.py").read_text(encoding="utf-8")
    snippets = [s for s in blocks(ROOT / "docs" / "watching.md", "python") if "HardestTokens" in s]
    for snippet in snippets:
        for line in snippet.splitlines():
            assert line.strip() in script or "…" in line

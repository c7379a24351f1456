"""The wheel, installed in an environment of its own and run from another folder; and the plain script."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ASSETS = Path(str(files("dopd_lightning"))) / "assets"
QUICK = [
    *("trainer.max_steps=2", "trainer.val_check_interval=null", "trainer.enable_progress_bar=false"),
    *("data.train.size=64", "data.val.size=4", "data.test.size=4", "data.batch_size=2", "rollout.max_new_tokens=8"),
]


def run(*command, cwd):
    """A process with nothing of this one's paths."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | {"HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built without network from a copy, so that the checkout stays clean."""
    pytest.importorskip("setuptools", minversion="77")
    source, built = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__", "tests", "docs", "benchmarks")
    shutil.copytree(ROOT, source, ignore=ignored)
    build = ("-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", built, source)
    run(sys.executable, *build, cwd=built)
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The Python of a fresh environment with the wheel; its dependencies are this environment's.

    They come by a path file, which does not run theirs: the checkout's own editable install stays out of sight.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel, cwd=folder)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_has_the_code_the_configuration_the_types_and_the_policies(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "dopd_lightning/py.typed" in names
    for room, folder in {"dopd_lightning": "dopd_lightning", "callbacks": "dopd_lightning/callbacks"}.items():
        modules = {path.relative_to(ROOT / room).as_posix() for path in (ROOT / room).rglob("*.py")}
        assert {f"{folder}/{module}" for module in modules} <= names
    yaml = {path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    assert {f"dopd_lightning/conf/{path}" for path in yaml} <= names
    templates = {path.name for path in (ROOT / "dopd_lightning" / "hints" / "templates").iterdir()}
    assert {f"dopd_lightning/hints/templates/{name}" for name in templates} <= names
    assets = {path.relative_to(ASSETS).as_posix() for path in ASSETS.rglob("*") if path.is_file()}
    assert {f"dopd_lightning/assets/{path}" for path in assets if "__pycache__" not in path} <= names
    assert not {name for name in names if name.startswith(("conf/", "callbacks/", "tests/")) or "study" in name}


def test_the_policies_are_safetensors_with_tokenizer_and_chat_template_and_at_most_12_megabytes():
    for role in ("teacher", "student"):
        found = {path.name for path in (ASSETS / f"quickstart_{role}").iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= found
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) <= 12e6


def test_the_installed_package_is_the_wheel_and_imports(installed, tmp_path):
    program = "import dopd_lightning.callbacks as c, dopd_lightning.conf as f, dopd_lightning as d; print(d.__file__)"
    imported = Path(run(installed, "-c", program, cwd=tmp_path).strip())
    assert imported.is_relative_to(installed.parents[1])
    assert not imported.is_relative_to(ROOT)


def test_the_installed_package_runs_the_quickstart_from_another_folder(installed, tmp_path):
    run(installed, "-m", "dopd_lightning", "+experiment=quickstart", *QUICK, cwd=tmp_path)
    (summary,) = (tmp_path / "runs" / "quickstart").glob("*/summary.json")
    found = json.loads(summary.read_text())
    assert found["steps"] == 2
    assert set(found["accuracy"]) == {"teacher", "student_before", "student_after"}
    assert set(found["regimes"]) == {"LH", "LL", "HT", "HS"}
    folder = summary.parent
    left = {"student", "config.yaml", "csv", "wandb", "checkpoints", "divergence_map", "divergence_map.html"}
    assert left <= {path.name for path in folder.iterdir()}
    load = f"from transformers import AutoModelForCausalLM as A; A.from_pretrained({str(folder / 'student')!r})"
    run(installed, "-c", load, cwd=tmp_path)


def test_the_plain_script_is_short_and_runs(installed, tmp_path):
    script = ROOT / "examples" / "plain_lightning.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) < 60
    run(installed, script, "--steps", "2", "--folder", "out", cwd=tmp_path)
    assert (tmp_path / "out" / "student" / "model.safetensors").exists()
    assert (tmp_path / "out" / "divergence_map.html").exists()


def test_a_callback_of_ones_own_reads_the_records(installed, tmp_path):
    said = run(installed, ROOT / "examples" / "hardest_tokens.py", "--steps", "1", cwd=tmp_path)
    assert len([line for line in said.splitlines() if line.endswith(" nats")]) == 5

"""The command runs what is missing, in order, and says what failed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from study import __main__ as command


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Jobs end at once; the second of each experiment fails."""
    ran = []

    def run_all(jobs, processes, log):
        ran.append(([job.experiment for job in jobs], processes))
        for number, job in enumerate(jobs):
            yield job, "it broke" if number == 1 else None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "run_all", run_all)
    monkeypatch.setattr(
        command, "write_results", lambda experiments, folder, console: ran.append((experiments, folder))
    )

    def tell(*arguments):
        monkeypatch.setattr("sys.argv", ["study", *arguments])
        return command.main(), ran

    return tell


def test_models_come_first_and_sweeps_one_after_the_other(told):
    status, ran = told("table1", "teacher", "table4", "student", "--processes", "3")
    assert ran == [
        (["teacher", "student"], 3),
        (["table1"] * 60, 3),
        (["table4"] * 20, 3),
        (["table1", "teacher", "table4", "student"], Path("study/results")),
    ]
    assert status == 1


def test_what_failed_is_said_with_its_command(told, capsys):
    told("table1")
    assert "+experiment=study/table1 method=dopd seed=1" in capsys.readouterr().out


def test_results_can_be_written_without_running_and_elsewhere(told):
    assert told("table1", "--no-runs", "--results", "again") == (0, [(["table1"], Path("again"))])


def test_what_is_done_is_not_run_again(told, monkeypatch):
    monkeypatch.setattr("study.plan.Job.done", property(lambda job: "seed=0" not in job.overrides))
    _, ran = told("table1")
    assert ran[0] == (["table1"] * 12, 2)


def test_what_another_command_is_running_is_waited_for(told, monkeypatch):
    held, asked, done = threading.Event(), threading.Event(), threading.Event()

    def is_done(job):
        asked.set()
        return done.is_set()

    def other_command():
        with FileLock("runs/study/.table1.lock"):
            held.set()
            asked.wait(60)
            time.sleep(0.5)
            done.set()

    monkeypatch.setattr("study.plan.Job.done", property(is_done))
    Path("runs/study").mkdir(parents=True)
    other = threading.Thread(target=other_command)
    other.start()
    held.wait(60)
    _, ran = told("table1")
    other.join()
    assert ran[0] == ([], 2)


def test_an_experiment_that_is_not_there(told, capsys):
    with pytest.raises(SystemExit):
        told("table99")
    assert "'table99' is no experiment of the study; there are teacher," in capsys.readouterr().err

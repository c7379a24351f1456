from __future__ import annotations

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from dopd_lightning.callbacks import LiveConsole, Speed, live_console
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import DOPD, Teacher
from dopd_lightning.record import TokenRecord
from dopd_lightning.rollout import StudentRollout
from dopd_lightning.training.module import DOPDModule

EXAMPLES = [{"prompt": f"Add {n} 2.", "privileged": f"first {n}", "answer": "3"} for n in range(6)]


@pytest.fixture
def run(make_policy, tokenizer, tmp_path):
    def fit(*callbacks, held_out=False, fusion=None, **options):
        module = DOPDModule(
            make_policy(0),
            make_policy(1),
            fusion=DOPD(top_k=8) if fusion is None else fusion,
            rollout=StudentRollout(max_new_tokens=3, samples_per_prompt=1),
            tokenizer=tokenizer,
        )
        trainer = L.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            num_sanity_val_steps=0,
            callbacks=list(callbacks),
            **options,
        )
        loader = DataLoader(EXAMPLES, batch_size=None, generator=torch.Generator())
        trainer.fit(module, loader, loader if held_out else None)
        return trainer

    return fit


def test_the_bar_has_loss_accuracy_and_tokens_a_second(run):
    console = LiveConsole()
    trainer = run(console, Speed(), held_out=True, max_epochs=1, limit_val_batches=1)
    shown = console.get_metrics(trainer, trainer.lightning_module)
    assert set(shown) == {"loss", "tokens/s", "accuracy"}
    assert shown["accuracy"] in ("0.0%", "100.0%")
    assert float(shown["loss"]) > 0
    assert float(shown["tokens/s"].replace(",", "")) > 0


@pytest.mark.parametrize(
    ("options", "totals"),
    [
        ({"max_steps": 4}, [4]),
        ({"max_epochs": 1}, [6]),
        ({"max_steps": 8, "max_epochs": -1}, [6, 2]),
        ({"max_steps": 2, "accumulate_grad_batches": 2}, [4]),
    ],
)
def test_the_bar_ends_where_training_does(run, options, totals):
    found = []

    class Total(LiveConsole):
        def on_train_epoch_start(self, trainer, pl_module):
            found.append(self.total_train_batches)
            super().on_train_epoch_start(trainer, pl_module)

    run(Total(), **options)
    assert found == totals


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_rollouts_are_shown_when_asked_for(run, capsys, micro_batches):
    run(LiveConsole(rollouts=1, every_n_steps=2), max_steps=4, accumulate_grad_batches=micro_batches)
    screen = capsys.readouterr().out
    for step, shown in ((0, False), (1, False), (2, True), (3, False), (4, True)):
        assert (f"step {step}" in screen) == shown
    assert "Add 1 2." in screen


def test_none_are_shown_otherwise(run, capsys):
    run(LiveConsole(), max_steps=2)
    assert "step 1" not in capsys.readouterr().out


def test_tokens_have_the_style_of_their_regime(tokenizer):
    ids = tokenizer("Add 1 2.")["input_ids"]
    regimes = torch.arange(len(ids)) % 4
    zeros = torch.zeros(1, len(ids) + 1)
    record = TokenRecord(
        torch.tensor([[*ids, 0]]),
        torch.tensor([[True] * len(ids) + [False]]),
        zeros,
        logp={"student": zeros},
        entropy={"student": zeros},
        regimes=torch.cat([regimes, torch.tensor([-1])])[None],
        examples=[{"prompt": "Why?\x1b[2J"}],
    )
    text = live_console.rollouts_text(record, tokenizer, count=3, step=9)
    heading, _, prompt, response, *_ = text.plain.strip().replace("\n", "\n\n", 1).split("\n")
    assert heading == "step 9  LH  LL  HT  HS"
    assert prompt.startswith("Why?")
    assert "\x1b" not in text.plain, "what a model says must not steer the terminal"
    assert response == "Add 1 2."
    styles = [
        span.style for span in text.spans if text.plain[span.start : span.end] and span.start > text.plain.index("?")
    ]
    assert [style for style in styles if style in live_console.STYLES.values()] == [
        live_console.STYLES[regime] for regime in regimes.tolist()
    ]


def test_a_rule_that_does_not_route_has_no_colours(run, capsys):
    run(LiveConsole(rollouts=1, every_n_steps=1), fusion=Teacher(), max_steps=1)
    screen = capsys.readouterr().out
    assert "step 1" in screen
    assert "LH" not in screen


@pytest.mark.parametrize(("option", "value"), [("rollouts", -1), ("every_n_steps", 0)])
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(ConfigError, match=option):
        LiveConsole(**{option: value})

"""A callback on the token record: which tokens do teacher and reference disagree about most, over a run?

    python examples/hardest_tokens.py --steps 20

It works in any Trainer with a DOPDModule; what the record holds, and when, is in `dopd_lightning.record.TokenRecord`.
"""

import argparse
from collections import defaultdict
from importlib.resources import files

import lightning as L
from torch.utils.data import DataLoader

from dopd_lightning import DOPDModule
from dopd_lightning.data import ReasoningGymDataset, collate
from dopd_lightning.maps import shown_alone, token_pieces
from dopd_lightning.rollout import StudentRollout

ASSETS = files("dopd_lightning") / "assets"


class HardestTokens(L.Callback):
    """Sums the gap of each token of the vocabulary, and prints the largest sums at the end."""

    def __init__(self, count: int = 5) -> None:
        self.count = count
        self.gaps: dict[int, float] = defaultdict(float)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        record = outputs["record"]  # of this process's rollouts; every tensor is detached, (batch, response)
        if record.gap is None:  # the fusion rule needs only one source, or none
            return
        tokens, gaps = record.response_ids[record.mask], record.gap[record.mask]  # without the padding
        for token, gap in zip(tokens.tolist(), gaps.tolist(), strict=True):
            self.gaps[token] += gap

    def on_train_end(self, trainer, pl_module):
        hardest = sorted(self.gaps, key=self.gaps.__getitem__, reverse=True)[: self.count]
        pieces = token_pieces(pl_module.tokenizer, hardest)
        for token in hardest:
            print(f"{shown_alone(pieces[token])!r}: {self.gaps[token]:.1f} nats")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    L.seed_everything(0)
    module = DOPDModule(
        student=str(ASSETS / "quickstart_student"),
        teacher=str(ASSETS / "quickstart_teacher"),
        rollout=StudentRollout(samples_per_prompt=2, max_new_tokens=64),
    )
    problems = ReasoningGymDataset("chain_sum", size=1000, hint="steps_executed")
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=arguments.steps,
        logger=False,
        enable_checkpointing=False,
        callbacks=[HardestTokens()],
    )
    trainer.fit(module, DataLoader(problems, batch_size=8, collate_fn=collate))


if __name__ == "__main__":
    main()

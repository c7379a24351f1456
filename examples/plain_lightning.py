"""DOPDModule in a Lightning project of your own: no Hydra, any dataloader, the Trainer's own flags.

    python examples/plain_lightning.py --steps 20

Student and teacher come with the package; put names of the Hub or loaded models in their place.
"""

import argparse
from importlib.resources import files

import lightning as L
from torch.utils.data import DataLoader

from dopd_lightning import DOPDModule
from dopd_lightning.callbacks import CollapseGuard, DivergenceMap
from dopd_lightning.data import ReasoningGymDataset, collate
from dopd_lightning.rollout import StudentRollout

ASSETS = files("dopd_lightning") / "assets"
SUMS = {"min_terms": 3, "max_terms": 5, "min_digits": 1, "max_digits": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--folder", default="plain_lightning")
    arguments = parser.parse_args()
    L.seed_everything(0)

    # Any dicts with `prompt` and, optionally, `privileged`, `answer` and `completion` will do.
    problems = ReasoningGymDataset("chain_sum", size=10_000, params=SUMS)
    held_out = ReasoningGymDataset("chain_sum", size=64, split="val", params=SUMS)

    module = DOPDModule(
        student=str(ASSETS / "quickstart_student"),
        teacher=str(ASSETS / "quickstart_teacher"),
        reference="student",
        rollout=StudentRollout(samples_per_prompt=4, max_new_tokens=64),
        verifier="reasoning_gym",
    )
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=arguments.steps,
        gradient_clip_val=1.0,
        default_root_dir=arguments.folder,
        logger=False,
        callbacks=[DivergenceMap(), CollapseGuard()],
    )
    trainer.fit(
        module,
        train_dataloaders=DataLoader(problems, batch_size=8, shuffle=True, collate_fn=collate),
        val_dataloaders=DataLoader(held_out, batch_size=64, collate_fn=collate),
    )
    module.student.save_pretrained(f"{arguments.folder}/student")
    module.tokenizer.save_pretrained(f"{arguments.folder}/student")


if __name__ == "__main__":
    main()

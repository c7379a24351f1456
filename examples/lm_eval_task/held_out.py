"""A run's `data.test` as a task of lm-evaluation-harness: the prompts, length limit and verifier of `stage=test`.

They are read from the run's `config.yaml`; `--metadata run=<folder>` says which run. The model is the harness's, and so
are the chat template, which is the model's own, and generation.
"""

import json
from pathlib import Path

from datasets import Dataset
from hydra.utils import instantiate
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask
from omegaconf import OmegaConf

from dopd_lightning.data import get_verifier
from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import load_tokenizer


class HeldOut(ConfigurableTask):
    """Greedy answers, of which those count that the run's verifier gives its full score."""

    def __init__(self, config):
        run = config["metadata"].get("run")
        self.run = self._config_of(run)
        self.problems = self._problems(self.run.student.get("name") or Path(run) / "student")
        self.verifier = get_verifier(instantiate(self.run.module, _partial_=True).keywords["verifier"])
        super().__init__(
            config={
                "task": config["task"],
                "metadata": config["metadata"],
                "output_type": "generate_until",
                "test_split": "test",
                "doc_to_text": "prompt",
                "doc_to_target": "answer",
                "generation_kwargs": {
                    "do_sample": False,
                    "max_gen_toks": self.run.rollout.max_new_tokens,
                    "until": [],  # nothing but the model's end of sequence
                },
                "metric_list": [],
            }
        )

    def _config_of(self, run):
        if run is None or not (Path(run) / "config.yaml").is_file():
            raise ConfigError(f"--metadata: run={run} must be the folder of a run, with its config.yaml")
        config = OmegaConf.load(Path(run) / "config.yaml")
        node = config.data.test
        if node is None or None in (node.get("path", ""), node.get("split", "")):
            raise ConfigError(f"--metadata: run={run} had no data.test; give the folder of a stage=test that had")
        if config.privileged.evaluation:
            raise ConfigError(f"--metadata: run={run} showed privileged text to the student; here prompts are bare")
        return config

    def _problems(self, student):
        """Those that `stage=test` asks: what is too long is an error, or left out."""
        prompt_format, problems = instantiate(self.run.prompt_format), instantiate(self.run.data.test)
        return prompt_format.select(problems, load_tokenizer(student), "data.test")

    def download(self, *_, **__):
        """Return the fields that the harness shows and logs; the problem itself is kept for its verifier."""
        rows = [
            {
                "index": index,
                "prompt": problem["prompt"] if isinstance(problem["prompt"], str) else json.dumps(problem["prompt"]),
                "answer": str(problem.get("answer")),
            }
            for index, problem in enumerate(self.problems)
        ]
        self.dataset = {"test": Dataset.from_list(rows)}

    def fewshot_context(self, doc, num_fewshot=0, *, chat_template=None, **_):
        """The prompt, and nothing before it; a chat goes through the model's template, all of its messages."""
        prompt = self.problems[doc["index"]]["prompt"]
        if isinstance(prompt, str) == (chat_template is not None):
            what = "chats: add" if chat_template is None else "text: leave out"
            raise ConfigError(f"prompts are {what} --apply_chat_template")
        return prompt if isinstance(prompt, str) else chat_template([dict(message) for message in prompt])

    def process_results(self, doc, results):
        return {"accuracy": float(self.verifier(results[0], self.problems[doc["index"]]) >= 1)}

    def aggregation(self):
        return {"accuracy": mean}

    def higher_is_better(self):
        return {"accuracy": True}

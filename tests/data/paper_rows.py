"""Rows in exactly the formats of the paper's three text sets; what they say is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets

RAR_SCIENCE: list[dict[str, Any]] = [
    {
        "question": f"A stone falls for {n} seconds. How fast is it, without the air?",
        "reference_answer": f"{n} times 9.81 m/s, as speed grows by g each second.",
        "question_source": "made_up/stones",
        "rubric": [{"description": "Essential Criteria: Multiplies by g.", "title": "Uses g", "weight": 5}],
        "rubric_list": ["Essential Criteria: Multiplies by g."],
        "rubric_count": 1,
    }
    for n in (2, 3, 4, 3)  # the last asks again
]

DAPO_MATH: list[dict[str, Any]] = [
    {
        "data_source": "math_dapo",
        "prompt": [
            {
                "content": "Solve the following math problem step by step. The last line of your response should be of "
                "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
                f'What is ${n} \\cdot 7$?\n\nRemember to put your answer on its own line after "Answer:".',
                "role": "user",
            }
        ],
        "ability": "MATH",
        "reward_model": {"ground_truth": str(7 * n), "style": "rule-lighteval/MATH_v2"},
        "extra_info": {"index": f"{n:08d}-made-up"},
    }
    for _ in range(3)  # the set has each row a hundred times
    for n in (3, 4, 5, 6)
]

SKYWORK_CODE: list[dict[str, Any]] = [
    {
        "data_source": "train-code-made-up",
        "prompt": [{"content": f"Write a function `times_{n}(x)` that multiplies by {n}.", "role": "user"}],
        "ability": "code",
        "reward_model": {
            "ground_truth": f'{{"entry_point": "times_{n}", "test_code": "assert times_{n}(2) == {2 * n}"}}',
            "style": "rule",
        },
        "extra_info": {
            "index": n,
            "model_difficulty": {"DeepSeek-R1-Distill-Qwen-1.5B": 9, "DeepSeek-R1-Distill-Qwen-7B": 4},
        },
    }
    for n in (2, 3, 4, 5)
]

SETS = {"rar_science": RAR_SCIENCE, "dapo_math": DAPO_MATH, "skywork_code": SKYWORK_CODE}
"""Rows by the name of their ``data=``."""


def write(rows: list[dict[str, Any]], path: Path) -> str:
    """A parquet file, as the Hub keeps them."""
    datasets.Dataset.from_list(rows).to_parquet(path)
    return str(path)

"""Worked solutions, and hints of every kind, for problems of reasoning-gym."""

from dopd_lightning.data.tasks.basic_arithmetic import BASIC_ARITHMETIC
from dopd_lightning.data.tasks.chain_sum import CHAIN_SUM
from dopd_lightning.data.tasks.gcd import GCD
from dopd_lightning.data.tasks.gsm_symbolic import GSM_SYMBOLIC
from dopd_lightning.data.tasks.task import GENERAL_HINT_KINDS, HINT_KINDS, Entry, Task, general_hint

TASKS: dict[str, Task] = {task.name: task for task in (BASIC_ARITHMETIC, CHAIN_SUM, GCD, GSM_SYMBOLIC)}
"""Tasks by the name of their reasoning-gym dataset."""

__all__ = ["GENERAL_HINT_KINDS", "HINT_KINDS", "TASKS", "Entry", "Task", "general_hint"]

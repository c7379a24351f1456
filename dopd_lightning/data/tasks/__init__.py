"""Tasks with worked solutions and hints of every kind; the problems and the scorers are reasoning-gym's."""

from dopd_lightning.data.tasks.chain_sum import CHAIN_SUM
from dopd_lightning.data.tasks.gsm_symbolic import GSM_SYMBOLIC
from dopd_lightning.data.tasks.task import GENERAL_HINT_KINDS, HINT_KINDS, Entry, Task, general_hint

TASKS: dict[str, Task] = {task.name: task for task in (CHAIN_SUM, GSM_SYMBOLIC)}
"""Our tasks by the name of their reasoning-gym dataset."""

__all__ = ["GENERAL_HINT_KINDS", "HINT_KINDS", "TASKS", "Entry", "Task", "general_hint"]

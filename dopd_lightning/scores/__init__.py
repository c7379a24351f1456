"""Scores of response tokens under a policy, from hidden states and output head, or from logits."""

from dopd_lightning.scores.by_logits import LogitScores
from dopd_lightning.scores.by_member import RoutedScores, routed
from dopd_lightning.scores.by_states import StateScores
from dopd_lightning.scores.forward import response_logits, response_states
from dopd_lightning.scores.output_head import head_of, is_read_right
from dopd_lightning.scores.pooled import PooledScores, pooled
from dopd_lightning.scores.scores import RowScores, Scores
from dopd_lightning.scores.scoring import Scoring
from dopd_lightning.scores.workspace import LOSS_MEMORY

__all__ = [
    "LOSS_MEMORY",
    "LogitScores",
    "PooledScores",
    "RoutedScores",
    "RowScores",
    "Scores",
    "Scoring",
    "StateScores",
    "head_of",
    "is_read_right",
    "pooled",
    "response_logits",
    "response_states",
    "routed",
]

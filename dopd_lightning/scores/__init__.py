"""Scores of response tokens by a policy: encoders, views, output heads, and what is made of them."""

from dopd_lightning.scores.by_logits import LogitScores
from dopd_lightning.scores.by_states import StateScores
from dopd_lightning.scores.encoder import EncodedPrompt, Encoder, TextEncoder
from dopd_lightning.scores.output_head import head_of, is_read_right
from dopd_lightning.scores.pooled import PooledScores, pooled
from dopd_lightning.scores.responses import Responses
from dopd_lightning.scores.routed import RoutedScores, routed
from dopd_lightning.scores.scores import RowScores, Scores
from dopd_lightning.scores.scoring import Scoring
from dopd_lightning.scores.views import View, response_logits, response_states, view_of
from dopd_lightning.scores.workspace import LOSS_MEMORY

__all__ = [
    "LOSS_MEMORY",
    "EncodedPrompt",
    "Encoder",
    "LogitScores",
    "PooledScores",
    "Responses",
    "RoutedScores",
    "RowScores",
    "Scores",
    "Scoring",
    "StateScores",
    "TextEncoder",
    "View",
    "head_of",
    "is_read_right",
    "pooled",
    "response_logits",
    "response_states",
    "routed",
    "view_of",
]

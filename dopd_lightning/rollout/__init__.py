"""Rollouts: responses of the student (on-policy), the teacher or the data, and the engines that write them."""

from dopd_lightning.rollout.dataset import DatasetRollout
from dopd_lightning.rollout.engine import Engine, Sampling, Written
from dopd_lightning.rollout.interface import Rollout, RolloutRequest
from dopd_lightning.rollout.mixed import MixedRollout
from dopd_lightning.rollout.response import Response, as_responses
from dopd_lightning.rollout.rollouts import Rollouts
from dopd_lightning.rollout.student import StudentRollout
from dopd_lightning.rollout.teacher import TeacherRollout
from dopd_lightning.rollout.transformers_engine import TransformersEngine, generate, step_logits
from dopd_lightning.rollout.vllm_in_process import VLLMEngine
from dopd_lightning.rollout.vllm_server import VLLMServerEngine

__all__ = [
    "DatasetRollout",
    "Engine",
    "MixedRollout",
    "Response",
    "Rollout",
    "RolloutRequest",
    "Rollouts",
    "Sampling",
    "StudentRollout",
    "TeacherRollout",
    "TransformersEngine",
    "VLLMEngine",
    "VLLMServerEngine",
    "Written",
    "as_responses",
    "generate",
    "step_logits",
]

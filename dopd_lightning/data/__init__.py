"""Datasets of prompts, privileged text and answers; batches, prompt formats and verifiers."""

from dopd_lightning.data.collate import collate, examples_of
from dopd_lightning.data.concatenation import Concatenation
from dopd_lightning.data.example import Example, Message, Prompt, check_example, completion_text, prompt_text
from dopd_lightning.data.hub import HubDataset
from dopd_lightning.data.jsonl import JsonlDataset
from dopd_lightning.data.module import DOPDDataModule
from dopd_lightning.data.paper_sets import DAPOMath, RaRScience, SkyworkCode
from dopd_lightning.data.prompt_format import PromptFormat
from dopd_lightning.data.reasoning_gym import ReasoningGymDataset
from dopd_lightning.data.verifiers import Verifier, extract_answer, get_verifier

__all__ = [
    "Concatenation",
    "DAPOMath",
    "DOPDDataModule",
    "Example",
    "HubDataset",
    "JsonlDataset",
    "Message",
    "Prompt",
    "PromptFormat",
    "RaRScience",
    "ReasoningGymDataset",
    "SkyworkCode",
    "Verifier",
    "check_example",
    "collate",
    "completion_text",
    "examples_of",
    "extract_answer",
    "get_verifier",
    "prompt_text",
]

"""Model input: encoded prompts, padded responses with their masks, and views of both for each policy."""

from dopd_lightning.inputs.encoder import EncodedPrompt, Encoder, TextEncoder
from dopd_lightning.inputs.response_mask import Responses
from dopd_lightning.inputs.views import View, view_of

__all__ = ["EncodedPrompt", "Encoder", "Responses", "TextEncoder", "View", "view_of"]

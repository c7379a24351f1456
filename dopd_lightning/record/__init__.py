"""Token record of a training step, and the metrics and details computed from it."""

from dopd_lightning.record.token_record import Likeliest, TokenDetails, TokenRecord

__all__ = ["Likeliest", "TokenDetails", "TokenRecord"]

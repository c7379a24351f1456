"""The token record of a step, and what is made of it."""

from dopd_lightning.record.token_record import Likeliest, TokenDetails, TokenRecord

__all__ = ["Likeliest", "TokenDetails", "TokenRecord"]

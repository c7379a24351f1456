"""Hydra configuration groups, found as ``pkg://dopd_lightning.conf``."""

"""Atomic file writes, nested mappings by dotted keys, and HTTP responses of limited size."""

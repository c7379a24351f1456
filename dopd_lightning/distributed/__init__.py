"""Collectives, sharded weights and random states of runs with several processes."""

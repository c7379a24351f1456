"""Many processes as one: collectives, sharded weights, random states."""

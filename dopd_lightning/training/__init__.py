"""Training with Lightning: the module, its step, its checks and its checkpoints."""

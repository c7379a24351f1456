"""What a training step costs, and where the time goes."""

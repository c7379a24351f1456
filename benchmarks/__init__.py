"""Time and memory of training steps, by part and beside peers."""

"""One training: epochs, early stopping, checkpoints."""

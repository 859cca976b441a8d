"""Where sentence pairs come from and how they reach a model."""

"""From what was asked to what is recorded: specs become runs, once and only once."""

"""Who computes: the worker, its protocol, and the pools that start it."""

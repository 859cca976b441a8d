"""From conf/, sweeps/ and overrides to settings that are whole, typed and frozen. The door to Hydra and OmegaConf."""

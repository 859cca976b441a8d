"""Tables, statistics and plots from recorded runs."""

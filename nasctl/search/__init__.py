"""How cells are found, and what a controller learned of them."""

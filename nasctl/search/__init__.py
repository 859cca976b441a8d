"""How cells are found."""

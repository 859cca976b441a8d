"""How cells are found: strategies, and the study of what their controllers learned."""

"""How a recurrent cell becomes fast."""

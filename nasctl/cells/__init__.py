"""What a recurrent cell is: pure Python, no torch."""

"""What is kept of every run, and where people browse it."""

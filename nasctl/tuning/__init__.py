"""What comes next, and who writes: studies and the scheduler."""

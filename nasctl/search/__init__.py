"""Search by weight sharing: the shared weights, the policy over cells, and how they take turns."""

"""What a run writes to disk and reports while it runs."""

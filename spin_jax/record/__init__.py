"""What a run leaves on disk and tells while it works."""

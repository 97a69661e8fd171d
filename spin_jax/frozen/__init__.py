"""What stage 2 reads but never trains."""

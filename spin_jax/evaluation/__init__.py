"""Playing trained policies and scoring them."""

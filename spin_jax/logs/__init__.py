"""Bringing a log of one's own."""

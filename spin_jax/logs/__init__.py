"""Importing logs that were made elsewhere."""

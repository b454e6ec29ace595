"""Comparing the answers of two revisions to the same questions."""

"""Placeholder while the floors land."""

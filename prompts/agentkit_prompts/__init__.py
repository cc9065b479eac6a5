"""Versioned prompt templates, one folder a prompt, one file a version. A shipped version never changes."""

"""Frozen models: where they are found, and their files."""

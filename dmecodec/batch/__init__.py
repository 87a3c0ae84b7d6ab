"""Many files in one call."""

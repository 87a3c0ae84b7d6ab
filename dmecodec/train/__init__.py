"""Training a network, and freezing it into a model file."""

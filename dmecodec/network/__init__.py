"""The architecture: one definition for training in floats and for the deployed codec, with its exact path."""

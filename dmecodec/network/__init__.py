"""The architecture: one definition for training (float) and for the deployed codec (exact where it must be)."""

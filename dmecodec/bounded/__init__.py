"""The residual layer: it bounds the error of every sample."""

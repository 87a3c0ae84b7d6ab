"""Residual layers: what a bound on the error adds to a file."""

"""The restoration filter: what it does to an image, its coefficients and how they are coded."""

"""Adapters to other libraries: Pillow, numcodecs, zarr, rasterio's command line."""

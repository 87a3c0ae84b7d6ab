"""GeoTIFF in and out through rasterio, which is optional (`pip install "dmecodec[geo]"`).

`record.py` is what a file keeps of where it lies on the ground, and needs no rasterio; the other modules
import it when they are used.
"""

"""Images in and out: files, arrays and GeoTIFFs as one kind of source, and decoded pixels into files."""

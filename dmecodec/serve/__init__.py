"""A local web server: scenes as GeoTIFFs with HTTP ranges, as map tiles, and on a page with a map."""

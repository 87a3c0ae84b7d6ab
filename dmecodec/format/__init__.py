"""The bytes of a `.dmen` file: header, index, bands, georeference. No torch."""

"""From pixels to the streams of a tile and back."""

"""From pixels to a `.dmen` file and back."""

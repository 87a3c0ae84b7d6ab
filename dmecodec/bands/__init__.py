"""Bands beyond 8-bit grey and colour: groups of three, 16 bits, nodata and masks.

The network codes three bands of 0 to 1 at a time. Here stands what makes such groups of any bands, and
what keeps the samples that are not valid away from the network: a lossless mask says where they are.
"""

from .layout import MAX_BANDS, Alpha, Band, Layout, layout_of, plain_layout

__all__ = ["MAX_BANDS", "Alpha", "Band", "Layout", "layout_of", "plain_layout"]

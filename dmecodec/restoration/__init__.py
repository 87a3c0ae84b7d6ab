"""The restoration filter: a linear filter fitted to each tile, sent in the file, applied to what the synthesis gives.

Every sensor has its own relation between colours at fine scales, and every scene its own sharpness; the network knows
their mean over what it was trained on. The filter adds to each pixel a sum of *details*, differences between the means
of ever larger neighbourhoods, in luma and two chroma axes:

    x + T' C details(T x)

with 36 coefficients C for a tile, most of them small. The encoder solves for those that bring the decoded tile nearest
to the original (`fit.py`), in bits as well (`prior.py`).
"""

"""Files with a bound on the error: a base image that is the same everywhere, and the residual that a bound allows.

`linear.py` makes the base image from latents, in integers. `interlace.py` says in what order samples are coded and what
is known then, `logistic.py` which tables there are, `settings.py` what a stream tells of itself. `residual.py` decodes,
`fit.py` encodes, and `tile.py` joins base and residual.
"""

"""Symbols to bytes and back: rANS for latents, lossless planes of alpha and masks."""

"""Symbols to bytes and back: rANS for latents, lossless planes for alpha and masks."""

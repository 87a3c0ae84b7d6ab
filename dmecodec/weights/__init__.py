"""Frozen models: registry.py finds their files, model.py loads them."""

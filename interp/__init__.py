"""Mechanistic interpretability on TransformerLens: uniform hooks, aligned activations, nulls."""

"""Mechanistic interpretability on TransformerLens: uniform hooks, aligned activations, honest nulls."""

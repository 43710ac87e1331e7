"""Layers that several models share: a pure function for each computation, and a thin module around it."""

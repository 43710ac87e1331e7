"""Layers that more than one model uses: a pure function where there is maths, a thin module around it."""

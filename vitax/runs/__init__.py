"""Runs as a whole: opening them from their folders, restoring, starting from other weights, evaluating."""

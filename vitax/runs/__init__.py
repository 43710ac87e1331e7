"""Runs as a whole: opened from their folders, restored, started from other weights, executed."""

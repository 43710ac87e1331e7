"""Runs of a config with other values of some keys, with several seeds each."""

"""From files to batches of NumPy arrays: source -> transform -> loader. Nothing here touches a device.

A source has ``len(source)``, ``source[i] -> {name: array}`` and ``source.name(i)``, what to call example i in a
message; labelled ones have ``source.class_names``. A transform is a function ``(example, rng) -> example``.
"""

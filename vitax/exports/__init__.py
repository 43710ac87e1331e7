"""Trained runs in the forms of other projects: folders of the hub's libraries, StableHLO and ONNX."""

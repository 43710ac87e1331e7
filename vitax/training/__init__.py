"""The training step, the training loop and their parts. They work with any Task and name no objective or model."""

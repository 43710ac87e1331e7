"""The step, the loop and what belongs to them. They know a Task; no objective and no model is named here."""

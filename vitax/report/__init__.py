"""A run on one page, several runs compared, and the summary at the end of a run."""

"""Run directories: where they lie, what is in them, and how it is read back."""

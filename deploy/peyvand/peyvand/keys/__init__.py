"""Rotate the keys of registration: the steps, what is left, and the processes that must know the keys."""

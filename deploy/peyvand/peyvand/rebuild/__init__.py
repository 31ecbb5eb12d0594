"""Rebuild the projection of reporting from the log, beside the one that is read."""

"""Continuous backup: base copies of each database and its change stream, encrypted, and the restore from them."""

"""A national round, driven through the public APIs as registrars, screeners, managers and lead enterprises would."""

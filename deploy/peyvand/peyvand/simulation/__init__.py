"""A simulated national round, run through the public APIs by registrars, screeners, managers and lead enterprises."""

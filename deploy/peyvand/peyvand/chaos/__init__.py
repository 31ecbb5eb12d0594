"""Faults drawn from a seed and injected under load, and the verification that nothing is lost or counted twice."""

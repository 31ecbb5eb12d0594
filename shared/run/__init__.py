"""Runs a role of a service: composes kernel, recovery and web. `python -m run SERVICE api|worker`."""

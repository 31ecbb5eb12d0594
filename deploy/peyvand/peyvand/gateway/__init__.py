"""The gateway: a reverse proxy that serves everything at one address in development."""

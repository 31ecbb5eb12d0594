"""Market for programs: the HTTP API."""

"""Screening for programs: the HTTP API."""

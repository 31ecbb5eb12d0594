"""Registration for applicants."""

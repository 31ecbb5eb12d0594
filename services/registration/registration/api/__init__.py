"""Registration for programs."""

"""The figures for programs: JSON, CSV, and a stream of changes."""

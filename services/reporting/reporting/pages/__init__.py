"""The figures for people: HTML pages."""

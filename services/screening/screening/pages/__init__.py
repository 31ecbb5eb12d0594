"""Screening for officers: HTML pages."""

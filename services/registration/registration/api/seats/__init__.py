"""Seats of provinces for programs: ledgers and waiting lists."""

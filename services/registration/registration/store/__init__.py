"""What registration asks across many records, and the audit of who read an identity."""

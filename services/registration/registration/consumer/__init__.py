"""What registration hears, and what its worker does besides: seats are given, identities are checked."""

"""The verbs of the command `peyvand`, one module per group."""

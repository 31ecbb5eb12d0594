"""The independent recount of every figure."""

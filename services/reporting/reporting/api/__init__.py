"""HTTP in and out: figures for programmes and for people."""

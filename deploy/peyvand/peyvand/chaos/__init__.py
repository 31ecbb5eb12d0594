"""Trouble made on purpose, drawn from a seed, and a check that nothing was lost and nothing counted twice."""

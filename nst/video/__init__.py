"""Clips become painted videos, whose frames do not flicker."""

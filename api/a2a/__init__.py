"""Assistants as agents of the A2A protocol; imported with the first request, for its SDK takes its time."""

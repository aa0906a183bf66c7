"""Assistants as tools of the Model Context Protocol; imported with the first request, for its SDK takes its time."""

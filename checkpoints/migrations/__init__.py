"""Owns the numbered schema documents; `migrate.py` applies them."""

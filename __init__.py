"""Threadline: durable LangGraph runs on your own Postgres."""

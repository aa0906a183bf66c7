"""What `threadline demo` does: it starts a server, plays the life of a run through HTTP, and tells what it sees."""

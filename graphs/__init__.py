"""What runs: the registry over langgraph.json and the shipped workflow. How it runs is left to `runs`."""

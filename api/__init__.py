"""How clients reach the runs: the HTTP layer. It parses, calls `runs` and answers; it decides nothing about a run."""

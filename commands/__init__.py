"""What the `threadline` command does, one module per command and one per part that several share."""

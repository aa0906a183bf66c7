"""The shipped workflow: it plans, uses tools side by side, and answers with citations. It reads no settings."""

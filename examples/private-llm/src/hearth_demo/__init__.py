"""The demo: from a bare machine to a private LLM that answers from a handbook and cites it."""

"""Hearth: a company's own LLM on its own Kubernetes, reconciled from three custom resources."""

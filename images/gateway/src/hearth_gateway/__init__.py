"""The gateway image: an OpenAI-compatible streaming proxy with API keys, sampling policy and RAG."""

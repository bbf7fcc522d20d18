"""The gateway of Hearth's LLMServices: an OpenAI-compatible streaming proxy with API keys, sampling policy and RAG."""

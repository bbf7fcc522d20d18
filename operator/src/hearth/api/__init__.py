"""The three custom resources as pydantic models, their shared shapes and the CRD generator. No I/O."""

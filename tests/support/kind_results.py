"""What the containers of each kind leave behind when all goes well."""

from hearth.api.base import Json

FACTS: Json = {
    "architecture": "LlamaForCausalLM",
    "modelType": "llama",
    "parameters": 134_515_008,
    "weightBytes": 269_030_016,
    "dtype": "bfloat16",
    "hiddenSize": 576,
    "layers": 30,
    "attentionHeads": 9,
    "keyValueHeads": 3,
    "headDim": 64,
    "intermediateSize": 1536,
    "vocabularySize": 49152,
    "maxPositionEmbeddings": 8192,
    "chatTemplate": True,
    "digest": "sha256:" + "1" * 64,
}
ROWS: Json = {
    "format": "Chat",
    "digest": "sha256:" + "2" * 64,
    "trainRows": 100,
    "evalRows": 10,
    "trainTokens": 20_000,
    "longestRow": 250,
    "longestTarget": 90,
    "findings": [],
}
TRAINED: Json = {
    "step": 21,
    "totalSteps": 21,
    "loss": "0.0312",
    "tokensPerSecond": "310.5",
    "evaluation": [
        {"subject": "base", "metric": "JSONFieldF1", "value": "0.0100"},
        {"subject": "tuned", "metric": "JSONFieldF1", "value": "0.9300"},
    ],
    "gate": {"passed": True, "reason": "JSONFieldF1 0.9300 is at least 0.8"},
    "artifacts": [
        {"kind": "Adapter", "path": "artifacts/adapter-aa", "digest": "sha256:" + "a" * 64, "size": 10},
        {"kind": "Merged", "path": "artifacts/merged-bb", "digest": "sha256:" + "b" * 64, "size": 270_000_000},
    ],
    "libraries": {"torch": "2.13.0"},
    "peakMemory": 2_000_000_000,
}
INDEXED: Json = {
    "documents": 52,
    "chunks": 130,
    "skippedCount": 0,
    "skipped": [],
    "alias": "handbook",
    "collection": "handbook_0123456789ab",
    "embeddings": [{"name": "text", "dimension": 384}],
    "recall": {"k": 10, "queries": 100, "measured": 0.992},
    "index": {"type": "HNSW", "params": {"M": 16, "efConstruction": 200}, "search": {"ef": 64}},
    "chunking": {"size": 128, "overlap": 16, "exactTokens": True},
    "capabilities": ["Dense"],
    "sparse": False,
    "engine": "v2.3.5-lite",
    "embeddedNow": 130,
    "reused": 0,
    "dropped": [],
}
RESULTS: dict[str, Json] = {
    "inspect": {"facts": FACTS},
    "prepare": {"result": ROWS},
    "train": {"result": TRAINED},
    "index": {"result": INDEXED},
}

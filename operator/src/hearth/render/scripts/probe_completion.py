"""Succeeds once the engine in this pod has answered a real request of one token.

Usage: probe_completion.py TASK MODEL [PORT], TASK being Generate or Embed. Exit code 0 means that it answered.
As a startup probe it makes a pod Ready only after the model has worked, not when its HTTP server has come up.
Runs with Python's standard library alone.
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any

TIMEOUT_SECONDS = 60


def request_for(task: str, model: str) -> tuple[str, dict[str, Any]]:
    """The path and the body of the smallest real request."""
    if task == "Embed":
        return "/v1/embeddings", {"model": model, "input": "ready"}
    return "/v1/completions", {"model": model, "prompt": "ready", "max_tokens": 1, "temperature": 0}


def answered(task: str, body: dict[str, Any]) -> bool:
    """Whether the answer holds what was asked for."""
    if task == "Embed":
        return bool(body.get("data")) and len(body["data"][0].get("embedding", [])) > 0
    return bool(body.get("choices")) and body.get("usage", {}).get("completion_tokens", 0) > 0


def main(arguments: list[str]) -> int:
    """Asks once."""
    task, model = arguments[:2]
    port = int(arguments[2]) if len(arguments) > 2 else 8000
    path, payload = request_for(task, model)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", path, json.dumps(payload), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status == 200 and answered(task, json.loads(text)):
            return 0
        sys.stderr.write(f"the engine answered {response.status}: {text[:300].decode('utf-8', 'replace')}\n")
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.stderr.write(f"no answer from the engine yet: {error}\n")
    finally:
        connection.close()
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Reading a model's facts from its files, and the Job that does it."""

import hashlib
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hearth.api.model_facts import ModelFacts
from hearth.api.shapes import PodOverrides
from hearth.render.inspection import inspection_job
from hearth.render.scripts import inspect_model, script

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
}
OWNER = {"kind": "LLMService", "metadata": {"name": "court", "namespace": "a"}}


def safetensors(tensors: dict[str, tuple[str, list[int], int]]) -> bytes:
    header: dict[str, Any] = {}
    at = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(at)


def write_model(folder: Path, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    (folder / "model.safetensors").write_bytes(
        safetensors({"a": ("BF16", [4, 8], 64), "b": ("BF16", [8], 16), "c": ("F32", [2], 8)})
    )
    return folder


Inspect = Callable[[str], tuple[int, dict[str, Any]]]


@pytest.fixture
def inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inspect:
    log = tmp_path / "termination-log"
    monkeypatch.setenv("HEARTH_TERMINATION_LOG", str(log))

    def run(source: str) -> tuple[int, dict[str, Any]]:
        code = inspect_model.main([source])
        return code, json.loads(log.read_text())

    return run


def test_a_model_folder_gives_the_facts_that_plans_need(tmp_path: Path, inspect: Inspect) -> None:
    code, result = inspect(str(write_model(tmp_path / "m")))
    facts = ModelFacts.model_validate(result["facts"])
    assert code == 0
    assert (facts.parameters, facts.weight_bytes, facts.dtype) == (42, 88, "bfloat16")
    assert (facts.layers, facts.key_value_heads, facts.head_dim) == (30, 3, 64)
    assert facts.chat_template is True
    assert facts.quantization is None


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        ({"num_key_value_heads": None}, "keyValueHeads", 9),
        ({"head_dim": 128}, "headDim", 128),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization", "awq"),
        ({"text_config": {"num_hidden_layers": 12}}, "layers", 12),
    ],
)
def test_variants_of_config_json(
    tmp_path: Path, inspect: Inspect, config: dict[str, Any], field: str, value: object
) -> None:
    assert inspect(str(write_model(tmp_path / "m", **config)))[1]["facts"][field] == value


def test_a_sentence_embedder_is_limited_by_its_own_configuration(tmp_path: Path, inspect: Inspect) -> None:
    folder = write_model(tmp_path / "m", max_position_embeddings=512)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    assert inspect(str(folder))[1]["facts"]["maxPositionEmbeddings"] == 256


def digest_of(inspect: Inspect, source: str) -> str:
    code, result = inspect(source)
    assert code == 0, result
    digest: str = result["facts"]["digest"]
    return digest


def overwrite(file: Path, at: int, content: bytes) -> None:
    """Changes bytes in place: the size and the header stay."""
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(content)


def test_other_weights_of_the_same_shape_are_another_model(tmp_path: Path, inspect: Inspect) -> None:
    one, other = write_model(tmp_path / "m"), write_model(tmp_path / "n")
    assert digest_of(inspect, str(one)) == digest_of(inspect, str(other))
    weights = other / "model.safetensors"
    overwrite(weights, weights.stat().st_size - 1, b"\1")
    assert digest_of(inspect, str(one)) != digest_of(inspect, str(other))


def test_of_a_large_model_every_tensor_is_looked_at_and_little_is_read(
    tmp_path: Path, inspect: Inspect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_model, "READ_WHOLE", 2**20)
    folder, tensor = write_model(tmp_path / "m"), 256 * 2**10
    tensors = {f"layers.{n}.weight": ("BF16", [tensor // 2], tensor) for n in range(8)}
    weights = folder / "model.safetensors"
    weights.write_bytes(safetensors(tensors))
    start = weights.stat().st_size - 8 * tensor
    read: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: (read.append(size), real(fd, size, at))[1])
    seen = {digest_of(inspect, str(folder))}
    assert sum(read) == 8 * inspect_model.BLOCK
    for number in range(8):  # as a fine-tune of this layer alone does
        overwrite(weights, start + number * tensor, os.urandom(tensor))
        seen.add(digest_of(inspect, str(folder)))
    assert len(seen) == 9


def test_what_is_read_of_a_model_of_very_many_tensors_is_bounded() -> None:
    experts = {f"experts.{n}": {"data_offsets": [n * 9000, (n + 1) * 9000]} for n in range(90_000)}
    blocks = inspect_model.tensor_blocks(8, experts, inspect_model.MOST_BLOCKS)
    assert len(blocks) == inspect_model.MOST_BLOCKS
    assert blocks[-1] > 0.99 * 90_000 * 9000, "from one end of the file to the other"


def test_a_projection_beside_an_embedder_is_part_of_it(tmp_path: Path, inspect: Inspect) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "2_Dense").mkdir()
    projection = folder / "2_Dense" / "model.safetensors"
    projection.write_bytes(safetensors({"linear.weight": ("F32", [4], 16)}))
    before = digest_of(inspect, str(folder))
    overwrite(projection, projection.stat().st_size - 1, b"\1")
    assert digest_of(inspect, str(folder)) != before


def test_a_manifest_that_came_along_says_nothing_of_weights_that_were_trained_on(
    tmp_path: Path, inspect: Inspect
) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "manifest.json").write_text(json.dumps({"digest": "sha256:" + "a" * 64}))
    before = digest_of(inspect, str(folder))
    assert before != "sha256:" + "a" * 64
    weights = folder / "model.safetensors"
    overwrite(weights, weights.stat().st_size - 1, b"\1")
    assert digest_of(inspect, str(folder)) != before


def test_another_template_or_other_tensors_are_another_model(tmp_path: Path, inspect: Inspect) -> None:
    folder = write_model(tmp_path / "m")
    first = inspect(str(folder))[1]["facts"]["digest"]
    assert inspect(str(folder))[1]["facts"]["digest"] == first
    (folder / "tokenizer_config.json").write_text("{}")
    assert inspect(str(folder))[1]["facts"]["digest"] != first


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"x")


def cut_weights(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-8])


def drop_layers(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({k: v for k, v in CONFIG.items() if k != "num_hidden_layers"}))


def lose_a_shard(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')


def leave_no_tensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(safetensors({}))


def list_no_files(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')


def leave_only_an_adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (remove_weights, "ModelUnreadable", "holds no .safetensors weights, only pytorch_model.bin"),
        (cut_weights, "ModelUnreadable", "where its header promises"),
        (drop_layers, "ModelUnreadable", "config.json has no num_hidden_layers"),
        (lose_a_shard, "ModelUnreadable", "are absent: model-00001-of-00002.safetensors"),
        (leave_no_tensors, "ModelUnreadable", "holds no tensors"),
        (list_no_files, "ModelUnreadable", "AttributeError"),
        (leave_only_an_adapter, "ModelUnreadable", "is a LoRA adapter"),
        (lambda f: (f / "config.json").unlink(), "ModelNotFound", "holds no config.json; it holds: model.safetensors"),
        (lambda f: (f / "config.json").write_text("{"), "ModelUnreadable", "config.json is not JSON"),
        (lambda f: f.rename(f.parent / "other"), "ModelNotFound", "does not exist"),
    ],
)
def test_a_broken_model_is_told_in_one_sentence(
    tmp_path: Path, inspect: Inspect, damage: Callable[[Path], object], kind: str, said: str
) -> None:
    folder = write_model(tmp_path / "m")
    damage(folder)
    code, result = inspect(str(folder))
    assert code == 66
    assert result["error"]["class"] == kind
    assert said in result["error"]["message"]


def test_a_missing_path_is_told_with_what_is_there_instead(tmp_path: Path, inspect: Inspect) -> None:
    write_model(tmp_path / "court-v2")
    message = inspect(str(tmp_path / "court-v3"))[1]["error"]["message"]
    assert "court-v3 does not exist" in message
    assert "court-v2" in message


class FakeHub(BaseHTTPRequestHandler):
    """Serves one repository by ranges, and answers 401 without the token."""

    folder: Path
    served: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Bearer secret":
            self.send_error(401)
        elif self.path.startswith(("/api/models/o/m/revision/v1?", "/api/models/o/m/revision/refs%2Fpr%2F3?")):
            files = [self._listed(path) for path in self.folder.iterdir()]
            self._send(json.dumps({"sha": "c0ffee", "siblings": files}).encode())
        elif self.path.startswith("/o/m/resolve/c0ffee/"):
            self.served.append(self.path.rsplit("/", 1)[1])
            begin, end = self.headers["Range"].removeprefix("bytes=").split("-")
            self._send((self.folder / self.path.rsplit("/", 1)[1]).read_bytes()[int(begin) : int(end) + 1])
        else:
            self.send_error(404)

    def _listed(self, path: Path) -> dict[str, Any]:
        """Large files are kept apart, and listed with their own hash beside that of their pointer."""
        listed: dict[str, Any] = {"rfilename": path.name, "size": path.stat().st_size, "blobId": "0" * 40}
        if path.suffix == ".safetensors":
            listed["lfs"] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": listed["size"]}
        return listed

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's parameter
        """Quiet."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    FakeHub.served.clear()
    handler = type("Handler", (FakeHub,), {"folder": write_model(tmp_path / "m")})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("hub")
def test_a_hub_repository_gives_the_same_facts_as_its_folder(
    tmp_path: Path, inspect: Inspect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub, folder = inspect("hf://o/m@v1")[1]["facts"], inspect(str(tmp_path / "m"))[1]["facts"]
    assert hub | {"digest": ""} == folder | {"digest": "", "revision": "c0ffee"}, "the commit that v1 names"


@pytest.mark.usefixtures("hub")
def test_other_weights_on_the_hub_are_another_model(
    tmp_path: Path, inspect: Inspect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    (tmp_path / "m" / "tokenizer.json").write_text("{}")
    before = digest_of(inspect, "hf://o/m@v1")
    assert "tokenizer.json" not in FakeHub.served, "the hub lists a hash of each file: none is fetched for the digest"
    assert digest_of(inspect, "hf://o/m@v1") == before
    weights = tmp_path / "m" / "model.safetensors"
    overwrite(weights, weights.stat().st_size - 1, b"\1")
    assert digest_of(inspect, "hf://o/m@v1") != before


@pytest.mark.usefixtures("hub")
def test_the_line_break_that_ends_a_tokens_file_is_no_part_of_it(
    inspect: Inspect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret\n")
    assert inspect("hf://o/m@v1")[0] == 0


@pytest.mark.parametrize("token", ["hf_first\nhf_second", "hf_first\r\nX-Other: x", "hf_\tfirst", "hf_first…"])
def test_a_token_that_no_header_can_carry_is_told_and_never_quoted(
    inspect: Inspect, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    code, result = inspect("hf://o/m@v1")
    assert (code, result["error"]["class"]) == (66, "ModelNotFound")
    assert result["error"]["message"] == "hf://o/m@v1: the token for the hub is not one line of printable ASCII"
    assert "first" not in json.dumps(result) + "".join(capfd.readouterr())


@pytest.mark.usefixtures("hub")
def test_a_revision_may_be_a_reference_with_slashes(inspect: Inspect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    code, result = inspect("hf://o/m@refs/pr/3")
    assert (code, result["facts"]["revision"]) == (0, "c0ffee")


def test_a_hub_that_breaks_off_is_worth_another_try(inspect: Inspect, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")

        def answer_half() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

        thread = threading.Thread(target=answer_half)
        thread.start()
        code, result = inspect("hf://o/m")
        thread.join()
    assert (code, result["error"]["class"]) == (69, "HubUnreachable")


@pytest.mark.usefixtures("hub")
def test_a_hub_that_refuses_asks_for_a_token(inspect: Inspect) -> None:
    code, result = inspect("hf://o/m@v1")
    assert code == 66
    assert "secretRef" in result["error"]["suggestion"]


def test_a_hub_that_does_not_answer_is_worth_another_try(inspect: Inspect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    code, result = inspect("hf://o/m")
    assert code == 69
    assert result["error"]["class"] == "HubUnreachable"
    assert "pvc://" in result["error"]["suggestion"]


def test_the_inspection_job_fails_at_once_for_a_missing_model_only() -> None:
    job = inspection_job(OWNER, "pvc://weights/court", image="gateway", config_map="court-engine")
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert [r["action"] for r in rules] == ["Ignore", "FailJob"]
    assert rules[1]["onExitCodes"]["values"] == [66]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python3", "/hearth/inspect_model.py", "/model/court"]


def test_the_hub_token_comes_from_the_secret_and_appears_nowhere_else() -> None:
    job = inspection_job(OWNER, "hf://o/m", image="gateway", config_map="court-engine", hub_secret="hub")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}]


def test_a_mirror_and_a_proxy_that_the_spec_names_are_used() -> None:
    variables = {"HF_ENDPOINT": "https://mirror", "HTTPS_PROXY": "http://proxy:3128"}
    overrides = PodOverrides.model_validate({"env": [{"name": k, "value": v} for k, v in variables.items()]})
    job = inspection_job(OWNER, "hf://o/m", image="g", config_map="c", hub_secret="hub", overrides=overrides)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {e["name"]: e.get("value") for e in container["env"]} == {"HF_TOKEN": None, **variables}


def test_another_uri_or_secret_is_another_job_because_a_template_cannot_be_changed() -> None:
    ways: list[tuple[str, str | None]] = [("hf://o/m", None), ("hf://o/n", None), ("hf://o/m", "hub")]
    jobs = [inspection_job(OWNER, uri, image="g", config_map="c", hub_secret=secret) for uri, secret in ways]
    assert len({job["metadata"]["name"] for job in jobs}) == 3


def test_a_failed_inspection_is_left_alone_for_as_long_as_it_has_been_failing() -> None:
    waits = [
        inspection_job(OWNER, "pvc://a/b", image="g", config_map="c", failing_seconds=s)["spec"][
            "ttlSecondsAfterFinished"
        ]
        for s in (0, 130, 400.7, 86_400)
    ]
    assert waits == [120, 130, 400, 1800]


def test_the_program_is_shipped_with_the_operator() -> None:
    assert "def main(" in script("inspect_model.py")

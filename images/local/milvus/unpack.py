"""Lay out the files of the PyPI package `milvus` for the server: binaries unpacked, configuration filled in.

The package does this at the first start, into its data folder; an image with a read-only root file system can't.
Usage: python unpack.py PACKAGE_DATA TARGET
"""

import lzma
import re
import shutil
import sys
from pathlib import Path

DATA = "/var/lib/milvus"
"""Where the official image keeps its data, too."""

FOLDERS = {
    "etcd_data_dir": f"{DATA}/etcd",
    "local_storage_dir": f"{DATA}/data",
    "rocksmq_data_dir": f"{DATA}/rdb_data",
    "system_log_path": '""',
}
"""Placeholders of the template that have no default; no log folder means: log to stdout alone."""


def unpack_binaries(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for packed in sorted(source.glob("*.lzma")):
        unpacked = target / packed.stem
        with lzma.open(packed) as reader, unpacked.open("wb") as writer:
            shutil.copyfileobj(reader, writer)
        unpacked.chmod(0o755)


def fill_in(template: str) -> str:
    """The configuration with every `{{ name(type): default }}` replaced, by its folder above or by its default."""

    def value(match: re.Match[str]) -> str:
        return FOLDERS.get(match["name"], match["default"])

    return re.sub(r"\{\{\s*(?P<name>\w+)(\(\w+\))?(:\s*(?P<default>\S+))?\s*\}\}", value, template)


def main(data: Path, target: Path) -> None:
    unpack_binaries(data / "bin", target / "bin")
    configs = target / "configs"
    configs.mkdir()
    (configs / "milvus.yaml").write_text(fill_in((data / "config.yaml.template").read_text()))
    (configs / "glog.conf").write_text((data / "glog.conf").read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

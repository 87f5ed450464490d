"""`dia run` and `dia cells` name the line of what Snakemake's own reader refuses without one, or with a traceback."""

from pathlib import Path

import pytest

from dia.cli import main

BROKEN: dict[str, tuple[bytes, str]] = {
    "tab": (b"name: x\ndatasets:\n\td: {source: bundled-mnist}\n", "line 3, column 1"),
    "bracket": (b"name: x\ngrids: [1, 2\ntables: []\n", "line 3, column 7"),
    "brace": (b"name: x\ndatasets: {d: {source: bundled-mnist}\n", "line 3"),
    "quote": (b"name: x\nmodels: \"y\n", "line 3"),
    "indentation": (b"name: x\ndatasets:\n  d: 1\n e: 2\n", "line 4"),
    "no colon": (b"name: x\ndatasets\ngrids: []\n", "line 3"),
    "two documents": (b"name: x\n---\nname: y\n", "line 2"),
    "unknown anchor": (b"name: x\ngrids: *nothing\n", "line 2, column 8"),
    "duplicate": (b"name: x\ntables: []\nname: y\n", "line 3, column 1: duplicate key 'name', already in line 1"),
    "nul": (b"name: x\nmodels: a\x00b\n", "line 2: character #x00"),
    "latin-1": (b"name: x\ntables: [\xe9]\n", "utf-8"),
    "utf-16": ("name: x\n".encode("utf-16"), "utf-8"),
    "deep": (b"name: x\ngrids: " + b"[" * 20_000, "more than 50 lists and mappings inside each other"),
    "tag": (b"name: x\ntables: !!python/object/apply:os.system [ls]\n", "line 2, column 9: the tag"),
    "tag of a list": (b"name: x\ntables: !!int [1]\n", "line 2, column 9: the tag !!int is not allowed"),
    "tag of a mapping": (b"name: x\nmodels: !!str {a: 1}\n", "line 2, column 9: the tag !!str is not allowed"),
    "alias bomb": (b"a: &a [1,1,1,1,1,1,1,1,1,1]\n" + b"".join(
        b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 10)) for n in range(8)
    ), "more than 1,000,000 values"),
}  # fmt: skip


@pytest.mark.parametrize("verb", [["run", "FILE", "-n"], ["cells", "--config", "FILE"]], ids=lambda v: v[0])
@pytest.mark.parametrize("kind", BROKEN)
def test_the_line_is_named(
    kind: str, verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = BROKEN[kind]
    path = tmp_path / "broken.yaml"
    path.write_bytes(text)
    assert main([word.replace("FILE", str(path)) for word in verb]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert str(path) in said and message in said
    assert "Traceback" not in said


def test_a_byte_order_mark_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "marked.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + Path("config/config.yaml").read_bytes())
    assert main(["cells", "--config", str(path)]) == 0

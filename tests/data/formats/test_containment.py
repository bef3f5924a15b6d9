"""Where images may lie: nothing outside of data.root, however it is named, unless that is allowed."""

from __future__ import annotations

import pytest
from small_datasets import left_out, write_png

from mammo.data.formats import read_manifest
from mammo.data.formats.rows import ALLOW_OUTSIDE

LEAVES = f"the path leaves data.root{ALLOW_OUTSIDE}"
ABSOLUTE = f"the path is absolute; it must be relative to the table{ALLOW_OUTSIDE}"
NO_PATH = "the path is no path of a file"
URL = "the path is a URL; it must be that of a file"
MISSING = "file is missing"

# how a table may name an image, and the reason why it is left out
NAMES = {
    "../outside/x.png": LEAVES,
    "a/../../outside/x.png": LEAVES,
    "..\\outside\\x.png": LEAVES,
    "../root-2/x.png": LEAVES,
    "ABSOLUTE": ABSOLUTE,
    "C:\\images\\x.png": ABSOLUTE,
    "c:x.png": ABSOLUTE,
    "\\\\server\\share\\x.png": ABSOLUTE,
    "//server/share/x.png": ABSOLUTE,
    "http://server/x.png": URL,
    "file:///etc/hosts": URL,
    "link.png": LEAVES,
    "folder/x.png": LEAVES,
    "loop.png": MISSING,
    "~/x.png": MISSING,
    "$HOME/x.png": MISSING,
    "a.png/../../outside/x.png": LEAVES,
    "x" * 300 + ".png": MISSING,
    "x/" * 4000 + "x.png": NO_PATH,
    "/proc/self/mem": ABSOLUTE,
}


@pytest.fixture
def root(tmp_path):
    """A data.root with one image, links that leave it, and images outside."""
    folder = tmp_path / "root"
    write_png(folder / "a.png")
    outside = write_png(tmp_path / "outside" / "x.png")
    write_png(tmp_path / "root-2" / "x.png")
    (folder / "link.png").symlink_to(outside)
    (folder / "folder").symlink_to(outside.parent)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_table_cannot_name_an_image_outside(name, root, options_of):
    written = str(root.parent / "outside" / "x.png") if name == "ABSOLUTE" else name
    (root / "labels.csv").write_text(f"image,label,patient\na.png,A,p\n{written},B,q\n")
    manifest = read_manifest(options_of("table"), root)
    assert list(manifest.table["image_id"]) == ["a.png"]
    assert [reason for _, reason in left_out(manifest).values()] == [NAMES[name]]


def test_nor_can_a_label_file(root, options_of):
    outside = root.parent / "outside" / "x.png"
    names = ["../outside/x.png", str(outside), "x" * 300, "n\0l.png", "a.png"]
    (root / "featureS.txt").write_text("".join(f"{name}\n1\n" for name in names))
    for data in ("patches", "mamografias"):
        manifest = read_manifest(options_of(data, group_by="image"), root)
        assert list(manifest.table["image_id"]) == ["a.png"]
        assert len(manifest.left_out) == 4


def test_nor_can_an_accession_number(root, options_of):
    rows = ["folder,1", "../outside,2", "x" * 300 + ",3"]
    (root / "classificacao.csv").write_text("AccessionNumber,Classification\n" + "\n".join(rows))
    (root / "folder" / "x.dcm").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(Exception, match="no image of archive can be used; 3 rows are left out"):
        read_manifest(options_of("archive"), root)


def test_nor_can_a_link_in_a_class_folder(root, options_of):
    write_png(root / "A" / "a.png")
    (root / "A" / "linked.png").symlink_to(root.parent / "outside" / "x.png")
    (root / "A" / "linked").symlink_to(root.parent / "outside" / "x.png")
    manifest = read_manifest(options_of("folders", group_by="image"), root)
    assert list(manifest.table["image_id"]) == ["A/a.png"]
    outside = dict.fromkeys(("A/linked.png", "A/linked", "folder/x.png"), ("file", LEAVES))
    beside = dict.fromkeys(("a.png", "link.png"), ("excluded", "the image is in no class folder"))
    assert left_out(manifest) == outside | beside


def test_it_can_be_allowed(root, options_of):
    outside = root.parent / "outside" / "x.png"
    rows = [f"{name},A,p{i}" for i, name in enumerate(["a.png", "../root-2/x.png", str(outside), "link.png"])]
    (root / "labels.csv").write_text("\n".join(["image,label,patient", *rows, f"{root}/a.png,A,p0"]))
    manifest = read_manifest(options_of("table", allow_outside_root=True), root)
    paths, ids = list(manifest.table["path"]), list(manifest.table["image_id"])
    assert [path.replace(str(root.parent), "") for path in sorted(paths)] == [
        "/outside/x.png", "/root-2/x.png", "/root/a.png", "/root/link.png",
    ]  # fmt: skip
    assert not manifest.left_out
    assert len(set(ids)) == 4
    assert not any(str(root.parent) in image_id for image_id in ids), "no id tells where on this machine an image is"

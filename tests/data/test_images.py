"""Any file becomes an image in 0..1 or a reason, by its content."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from mammo.data.dicom import looks_like_dicom
from mammo.data.images import MAX_PIXELS
from mammo.support.errors import BadFile
from tests.data.reading import read_image

RANDOM_GREY = np.random.default_rng(0).integers(0, 256, (60, 40)).astype(np.uint8)


def wrap_as_dicom(values: np.ndarray, path: Path) -> Path:
    """8-bit grey as an image for presentation without a window."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.3"
    dataset.Modality, dataset.PresentationIntentType = "MG", "FOR PRESENTATION"
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = values.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("extension", ["png", "pgm", "tif", "bmp"])
def test_8_bit_grey_is_divided_by_255(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"image.{extension}"
    Image.fromarray(RANDOM_GREY).save(path)
    image, header = read_image(path)
    assert header is None
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, RANDOM_GREY.astype(np.float32) / np.float32(255))


def test_dicom_of_the_pixels_of_a_png_is_the_same_image_to_the_bit(tmp_path: Path, shared_data: Path) -> None:
    png = shared_data / "mini-mias" / "images" / "mdb001.png"
    expected, _ = read_image(png)
    image, header = read_image(wrap_as_dicom(np.asarray(Image.open(png)), tmp_path / "image"))
    assert header is not None
    assert header.modality == "MG"
    assert image.tobytes() == expected.tobytes()


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(RANDOM_GREY).save(tmp_path / "image.dcm", format="PNG")
    wrap_as_dicom(RANDOM_GREY, tmp_path / "image.png")
    assert not looks_like_dicom(tmp_path / "image.dcm")
    assert looks_like_dicom(tmp_path / "image.png")
    picture, no_header = read_image(tmp_path / "image.dcm")
    dicom, header = read_image(tmp_path / "image.png")
    assert (no_header, header is None) == (None, False)
    np.testing.assert_array_equal(picture, dicom)


def test_16_bits_are_taken_between_percentiles_of_the_breast(tmp_path: Path) -> None:
    y, x = np.mgrid[:200, :150]
    inside = (y - 100) ** 2 + x**2 < 80**2
    values = np.where(inside, 20000 + 100 * y, 500).astype(np.uint16)
    low, high = np.percentile(values[inside], (0.5, 99.5))
    for extension in ("png", "tif"):
        Image.fromarray(values).save(tmp_path / f"image.{extension}")
        image, _ = read_image(tmp_path / f"image.{extension}")
        np.testing.assert_allclose(image, np.clip((values - low) / (high - low), 0, 1), atol=0.01)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1"])
def test_grey_in_other_modes(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(RANDOM_GREY).convert(mode)
    picture.save(tmp_path / "image.png")
    image, _ = read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(image, (np.asarray(picture.convert("L")) / 255).astype(np.float32))
    assert image.std() > 0.2


def test_a_palette_that_is_not_in_order_is_followed(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode=None).convert("P")
    picture.putpalette([200, 200, 200, 10, 10, 10, 90, 90, 90])
    picture.save(tmp_path / "image.png")
    np.testing.assert_allclose(read_image(tmp_path / "image.png")[0] * 255, [[200, 10], [90, 10]], rtol=1e-6)


def test_jpeg_noise_is_grey_and_colour_is_refused(tmp_path: Path, shared_data: Path) -> None:
    image, _ = read_image(shared_data / "density-samples" / "D" / "sample_D1.jpg")
    assert image.shape == (425, 266)
    colours = np.stack([RANDOM_GREY, RANDOM_GREY, 255 - RANDOM_GREY], axis=-1)
    Image.fromarray(colours).save(tmp_path / "image.png")
    with pytest.raises(BadFile, match="coloured picture"):
        read_image(tmp_path / "image.png")
    image, _ = read_image(tmp_path / "image.png", ("colour",))
    np.testing.assert_allclose(image, colours @ [0.299, 0.587, 0.114] / 255, atol=1 / 255)


def claimed_png(width_px: int, height_px: int) -> bytes:
    """A PNG that is all header."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    end = b"IEND"
    chunks = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, end)
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "neither a DICOM file nor a readable picture"),
        (b"a text file, whatever its name says", "neither a DICOM file nor a readable picture"),
        (b"GIF89a" + bytes(100), "neither a DICOM file nor a readable picture"),
        (claimed_png(10000, MAX_PIXELS // 10000 + 1), "more than 80000000"),
        (claimed_png(100000, 100000), "DecompressionBombError"),
        (claimed_png(10, 10), "the picture is cut off or damaged"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=reason) as caught:
        read_image(path)
    assert str(tmp_path) not in caught.value.reason


@pytest.mark.parametrize("extension", ["png", "jpg", "pgm", "tif", "bmp"])
def test_cut_off_pictures(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"image.{extension}"
    Image.fromarray(RANDOM_GREY).save(path)
    whole = path.read_bytes()
    for length in (len(whole) // 10, len(whole) // 2, len(whole) * 9 // 10):
        path.write_bytes(whole[:length])
        with pytest.raises(BadFile):
            read_image(path)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_a_png_is_what_its_check_sums_and_its_header_say(tmp_path: Path) -> None:
    """A damaged row, and a header of more rows than there are: decoding alone gives a picture with black rows."""
    path = tmp_path / "image.png"
    Image.fromarray(RANDOM_GREY).save(path)
    whole = path.read_bytes()
    header = whole.index(b"IHDR") + 4
    rows = struct.pack(">I", 90)
    more_rows = chunk(b"IHDR", whole[header : header + 4] + rows + whole[header + 8 : header + 13])
    damaged = bytearray(whole)
    damaged[whole.index(b"IDAT") + 900] ^= 1
    for content in (bytes(damaged), whole[:8] + more_rows + whole[header + 17 :]):
        with pytest.raises(BadFile, match="the picture is cut off or damaged"):
            read_image(content)


def test_a_tiff_is_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    for values in (RANDOM_GREY, RANDOM_GREY.astype(np.uint16) * 100, RANDOM_GREY.astype(np.float32)):
        Image.fromarray(values).save(path)
        assert read_image(path)[0].shape == (60, 40)
    Image.fromarray(RANDOM_GREY).save(path)
    whole = path.read_bytes()
    (directory,) = struct.unpack_from("<I", whole, 4)
    place = {struct.unpack_from("<H", whole, i)[0]: i for i in range(directory + 2, len(whole) - 12, 12)}
    without_polarity = whole[: place[262]] + struct.pack("<H", 263) + whole[place[262] + 2 :]
    more_strips = whole[: place[278] + 8] + struct.pack("<I", 7) + whole[place[278] + 12 :]
    for content in (without_polarity, more_strips):
        with pytest.raises(BadFile, match=r"photometric interpretation|cut off or damaged|different pixels"):
            read_image(content)
    inverted = whole[: place[262] + 8] + struct.pack("<I", 0) + whole[place[262] + 12 :]
    np.testing.assert_allclose(read_image(inverted)[0], 1 - read_image(whole)[0], atol=1e-6)


def test_constant_missing_and_many_paged(tmp_path: Path) -> None:
    for depth in (np.uint8, np.uint16):
        Image.fromarray(np.full((50, 50), 9, depth)).save(tmp_path / "image.png")
        with pytest.raises(BadFile, match="constant image"):
            read_image(tmp_path / "image.png")
    with pytest.raises(BadFile, match="the file cannot be read"):
        read_image(tmp_path / "missing.png")
    pages = [Image.fromarray(RANDOM_GREY), Image.fromarray(RANDOM_GREY[::-1])]
    pages[0].save(tmp_path / "image.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(BadFile, match="a picture of 2 pages"):
        read_image(tmp_path / "image.tif")
    assert read_image(tmp_path / "image.tif", ("multiframe",))[0].shape == (60, 40)


def write_mpo(path: Path, exif: Image.Exif) -> Path:
    pictures = [Image.fromarray(RANDOM_GREY), Image.fromarray(RANDOM_GREY[::-1])]
    pictures[0].save(path, format="MPO", save_all=True, append_images=pictures[1:], exif=exif)
    with Image.open(path) as picture:
        assert (picture.format, picture.n_frames) == ("MPO", 2)
    return path


def test_of_a_picture_of_a_phone_the_first_image_is_read(tmp_path: Path) -> None:
    path = write_mpo(tmp_path / "image.jpg", exif_of(6))
    with Image.open(path) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(read_image(path)[0], expected.astype(np.float32) / np.float32(255))
    content = path.read_bytes()
    scan = content.index(b"\xff\xda")
    end = content.index(b"\xff\xd9", scan)
    (tmp_path / "short.jpg").write_bytes(content[: (scan + end) // 2] + content[end:])
    with pytest.raises(BadFile, match=r"lacks data|cut off or damaged"):
        read_image(tmp_path / "short.jpg")


# What a camera stores of a picture, by EXIF orientation: 6 is "the 0th row is the right side, the 0th column the top".
STORED = {
    1: RANDOM_GREY, 2: np.fliplr(RANDOM_GREY), 3: np.rot90(RANDOM_GREY, 2), 4: np.flipud(RANDOM_GREY),
    5: RANDOM_GREY.T, 6: np.rot90(RANDOM_GREY, 1), 7: np.rot90(RANDOM_GREY, 2).T, 8: np.rot90(RANDOM_GREY, -1),
}  # fmt: skip


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def raw_profile(name: str, exif: Image.Exif) -> PngInfo:
    """EXIF data as ImageMagick writes them into a text chunk of a PNG."""
    text, content = PngInfo(), exif.tobytes()
    text.add_text(f"Raw profile type {name}", f"\n{name}\n{len(content):8}\n{content.hex()}\n", zip=True)
    return text


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "raw exif", "raw APP1", "JPEG", "TIFF", "TIFF of strips", "colour"])
def test_a_picture_is_turned_as_viewers_turn_it(tmp_path: Path, kind: str, orientation: int) -> None:
    exif, tag = exif_of(orientation), {"tiffinfo": {274: orientation}}
    if kind.startswith("raw"):
        options = {"format": "PNG", "pnginfo": raw_profile(kind.split()[1], exif)}
    elif kind == "TIFF":
        options = {"format": "TIFF", **tag}
    elif kind == "TIFF of strips":
        options = {"format": "TIFF", "compression": "tiff_lzw", **tag}
    else:
        options = {"format": "PNG" if kind == "colour" else kind, "exif": exif}
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation])).convert("RGB" if kind == "colour" else "L")
    stored.save(tmp_path / "image", **options)
    expected = RANDOM_GREY
    if kind == "JPEG":  # lossy: what viewers show of it
        expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "image")))
    np.testing.assert_array_equal(read_image(tmp_path / "image")[0], (expected / 255).astype(np.float32))


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_a_picture_of_16_bits_is_turned_too(tmp_path: Path, extension: str) -> None:
    for orientation in (1, 6):
        deep = np.ascontiguousarray(STORED[orientation]).astype(np.uint16) * 100
        told = {"exif": exif_of(orientation)} if extension == "png" else {"tiffinfo": {274: orientation}}
        Image.fromarray(deep).save(tmp_path / f"{orientation}.{extension}", **told)
    upright, turned = (read_image(tmp_path / f"{orientation}.{extension}")[0] for orientation in (1, 6))
    np.testing.assert_array_equal(turned, upright)


@pytest.mark.parametrize("exif", [exif_of(0), exif_of(9), b"Exif\0\0MM\0*\0\0\0\x08\0\x09", b"Exif\0\0nonsense"])
def test_an_orientation_that_means_nothing_is_not_followed(tmp_path: Path, exif: Image.Exif | bytes) -> None:
    Image.fromarray(RANDOM_GREY).save(tmp_path / "image.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "image.png")[0], (RANDOM_GREY / 255).astype(np.float32))


@pytest.mark.parametrize("extension", ["png", "jpg", "tif"])
@pytest.mark.parametrize("with_exif", [False, True])
def test_an_orientation_in_xmp_alone_is_not_followed(tmp_path: Path, extension: str, with_exif: bool) -> None:
    """Nor do browsers follow it, other than Pillow, also where there are EXIF data without an orientation."""
    exif = Image.Exif()
    exif[270] = "a film"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    options: dict[str, object] = {"exif": exif} if with_exif else {}
    if extension == "png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif extension == "tif":
        options["tiffinfo"] = {700: xmp}
    else:
        options |= {"xmp": xmp, "quality": 100}
    Image.fromarray(RANDOM_GREY).save(tmp_path / f"image.{extension}", **options)
    with Image.open(tmp_path / f"image.{extension}") as picture:
        assert picture.getexif()[274] == 6
    image, _ = read_image(tmp_path / f"image.{extension}")
    np.testing.assert_allclose(image, RANDOM_GREY / 255, atol=0.02)


def test_turned_pictures_from_the_field(shared_data: Path) -> None:
    folder = shared_data / "field-cases" / "06-exif-orientation"
    upright, _ = read_image(folder / "ref.png")
    for name in ("exif3.jpg", "exif6.jpg"):
        np.testing.assert_allclose(read_image(folder / name)[0], upright, atol=0.02)

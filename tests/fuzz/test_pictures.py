"""Intact and damaged pictures of every format: pixels or one sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from gluon_attention import UserError
from gluon_attention.datasets.image_folder import PictureFiles
from gluon_attention.datasets.pictures import MAX_ASPECT, MAX_PIXELS, MAX_SIDE, decode

import numpy as np
import pytest
from fuzzing import DAMAGE, damaged
from hypothesis import strategies as st
from PIL import Image, ImageOps

PNG = b"\x89PNG\r\n\x1a\n"
PIXELS = np.random.default_rng(0).integers(256, size=(24, 36, 3)).astype(np.uint8)
PIXELS[:] = PIXELS[:1, :1]  # of one colour, so that no compression changes it much
PIXELS[:12] = 255 - PIXELS[0, 0]


def encoded(picture, form, **options):
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def corpus():
    picture = Image.fromarray(PIXELS)
    deep = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    animation = dict(save_all=True, append_images=[picture.rotate(180)])
    return {
        "rgb.jpg": encoded(picture, "JPEG"),
        "progressive.jpg": encoded(picture, "JPEG", progressive=True),
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "grey.jpg": encoded(picture.convert("L"), "JPEG"),
        "exif.jpg": encoded(picture, "JPEG", exif=exif_of(6)),
        "rgb.png": encoded(picture, "PNG"),
        "rgba.png": encoded(picture.convert("RGBA"), "PNG"),
        "palette.png": encoded(picture.convert("P"), "PNG"),
        "bit.png": encoded(picture.convert("1"), "PNG"),
        "16bit.png": encoded(deep, "PNG"),
        "moving.png": encoded(picture, "PNG", **animation),
        "rgb.bmp": encoded(picture, "BMP"),
        "grey.bmp": encoded(picture.convert("L"), "BMP"),
        "lossy.webp": encoded(picture, "WEBP", quality=95),
        "lossless.webp": encoded(picture, "WEBP", lossless=True),
        "alpha.webp": encoded(picture.convert("RGBA"), "WEBP", lossless=True, exact=True),
        "moving.webp": encoded(picture, "WEBP", quality=95, **animation),
        "exif.webp": encoded(picture, "WEBP", quality=95, exif=exif_of(3)),
    }


CORPUS = corpus()
FOREIGN = {
    "still.gif": encoded(Image.fromarray(PIXELS), "GIF"),
    "moving.gif": encoded(
        Image.fromarray(PIXELS), "GIF", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])]
    ),
    "tiff": encoded(Image.fromarray(PIXELS), "TIFF"),
    "netpbm": encoded(Image.fromarray(PIXELS), "PPM"),
    "jpeg2000": encoded(Image.fromarray(PIXELS), "JPEG2000"),
    "empty": b"",
    "text": b"no picture",
}


@pytest.mark.parametrize("name", CORPUS)
def test_every_format_is_decoded(name):
    picture = decode(CORPUS[name], name)
    assert picture.shape == PIXELS.shape and picture.dtype == np.uint8
    expected = Image.open(io.BytesIO(CORPUS[name]))
    if name != "16bit.png":  # which Pillow does not scale
        difference = picture.astype(int) - np.asarray(expected.convert("RGB"))
        assert np.abs(difference).mean() < 4
    else:
        np.testing.assert_array_equal(picture[..., 0], PIXELS[..., 0])


def test_remarks_of_a_png_change_and_print_nothing(capfd):
    picture, remark = Image.fromarray(PIXELS).convert("P"), b"iCCPx\0\0" + zlib.compress(b"wrong")
    content = encoded(picture, "PNG", transparency=1, icc_profile=b"wrong", gamma=0.4)
    chunk = struct.pack(">I", len(remark) - 4) + remark + struct.pack(">I", zlib.crc32(remark))
    remarked = content[:33] + chunk + content[33:]  # after the header
    assert (decode(remarked, "here") == decode(encoded(picture, "PNG"), "here")).all()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_equals_pillows(form, orientation):
    corners = np.zeros((16, 24, 3), np.uint8)
    corners[:8, :8], corners[8:, :8], corners[:8, 16:] = 255, (255, 0, 0), (0, 0, 255)
    options = {} if form == "PNG" else dict(quality=95)
    content = encoded(Image.fromarray(corners), form, exif=exif_of(orientation), **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
    picture = decode(content, "turned", upright=True)
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected).mean() < 6
    plain = decode(content, "turned").astype(int)
    assert plain.shape == corners.shape and np.abs(plain - corners).mean() < 6


def test_broken_exif_of_a_webp_is_ignored(fuzz):
    content = encoded(Image.fromarray(PIXELS), "WEBP", exif=exif_of(1))
    start = content.index(b"EXIF") + 8

    def check(example):
        end, noise = example
        exif = (noise + content[start + len(noise) :])[:end]
        chunk = content[:start] + exif
        picture = decode(chunk[:4] + struct.pack("<I", len(chunk) - 8) + chunk[8:], "x.webp", True)
        assert sorted(picture.shape) == sorted(PIXELS.shape)

    fuzz(10, st.tuples(st.integers(0, 40), st.binary(max_size=30)), check)


@pytest.mark.parametrize("name", FOREIGN)
def test_other_formats_are_refused(name):
    with pytest.raises(UserError, match="JPEG, PNG, BMP or WebP.*replace or") as refusal:
        decode(FOREIGN[name], name)
    assert name in str(refusal.value) and ("a GIF" in str(refusal.value)) == name.endswith("gif")


def chunk(kind, content):
    length, check = (struct.pack(">I", n) for n in (len(content), zlib.crc32(kind + content)))
    return length + kind + content + check


def claiming(name, width, height):
    """A picture whose header claims a size that its data does not have."""
    content = bytearray(CORPUS[name])
    if name.endswith("png"):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")
        return PNG + b"".join(parts)
    if name.endswith("jpg"):
        frame = content.index(b"\xff\xc2" if name.startswith("prog") else b"\xff\xc0")
        content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    elif name.endswith("bmp"):
        content[18:26] = struct.pack("<ii", width, -height)
    elif name == "lossy.webp":
        content[26:30] = struct.pack("<HH", width, height)
    elif name == "lossless.webp":
        content[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    else:
        content[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(content)


@pytest.mark.parametrize("name", sorted({*CORPUS} - {"alpha.webp", "palette.png"}))
def test_size_is_read_from_the_header(name, monkeypatch):
    monkeypatch.setattr("cv2.imdecode", None)  # calling it would fail
    small = name in ("lossy.webp", "lossless.webp")  # these cannot say more than 16383
    width, height = (16_383, 16_000) if small else (20_000, 10)
    with pytest.raises(UserError, match=f"is {width}x{height} pixels large; pictures may have"):
        decode(claiming(name, width, height), name)


def test_pictures_up_to_the_largest_side_are_decoded():
    with pytest.raises(UserError, match="20000x2 pixels"):
        decode(encoded(Image.new("RGB", (20_000, 2)), "PNG"), "wide")
    height = MAX_SIDE // MAX_ASPECT
    wide = encoded(Image.new("L", (MAX_SIDE, height)), "PNG")
    assert decode(wide, "wide").shape == (height, MAX_SIDE, 3)
    assert MAX_SIDE**2 > MAX_PIXELS


@pytest.mark.parametrize("size", [(1, 65), (MAX_SIDE, 200)])
def test_long_thin_pictures_are_refused(size):
    content = encoded(Image.new("L", size), "PNG")
    with pytest.raises(UserError, match=f"thin.png is {size[0]}x{size[1]} .* 64 times as long"):
        decode(content, "thin.png")


def test_damaged_pictures_are_decoded_or_refused(fuzz, refused):
    pictures = {**CORPUS, **FOREIGN}

    def check(example):
        name, damage = example

        def read():
            picture = decode(damaged(pictures[name], damage), "broken.jpg")
            assert picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8
            assert max(picture.shape) <= MAX_SIDE

        refused(read)

    fuzz(50, st.tuples(st.sampled_from(sorted(pictures)), DAMAGE), check)


def test_random_headers_are_refused_in_one_sentence(fuzz, refused):
    starts = st.sampled_from(
        [b"\xff\xd8\xff", PNG + b"\0\0\0\rIHDR", b"BM", b"RIFF\0\0\0\0WEBPVP8"]
    )
    strategy = st.tuples(starts, st.binary(max_size=64))
    fuzz(20, strategy, lambda example: refused(lambda: decode(b"".join(example), "header")))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(UserError, match=f"cannot read {path}: .*remove it"):
            PictureFiles([Path(path)]).content(0)

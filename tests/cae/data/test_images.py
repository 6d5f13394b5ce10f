"""Reading image files: every kind of file gives the same float image in [0, 1]."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from cae.data.file_listing import is_image, list_images, without_suffix
from cae.data.headers import image_shape, orientation
from cae.data.images import (
    ImageRef,
    Reading,
    fit,
    load_image,
    load_mask,
    read_image,
    read_mask,
    to_channels,
    unscaled_range,
)
from cae.data.records import ImageFiles, Record, read_headers
from cae.errors import UserError

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5  # (H, W) = (6, 8)


def write(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return ImageRef(path)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".pgm", ".gif"])
def test_a_grey_file_of_any_lossless_kind_is_its_values_over_255(tmp_path, suffix):
    ref = write(tmp_path / f"a{suffix}", RAMP)
    assert image_shape(ref) == (1, 6, 8)
    assert torch.equal(read_image(ref), torch.from_numpy(RAMP / np.float32(255))[None])


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_a_lossy_file_is_close_to_its_values(tmp_path, suffix):
    flat = np.full((6, 8, 3), (200, 100, 50), dtype=np.uint8)
    image = read_image(write(tmp_path / f"a{suffix}", flat, quality=100))
    assert image.shape == (3, 6, 8)
    assert torch.allclose(image[:, 0, 0] * 255, torch.tensor([200.0, 100.0, 50.0]), atol=6)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_values_are_divided_by_65535(tmp_path, suffix):
    values = np.array([[0, 1000], [32768, 65535]], dtype=np.uint16)
    ref = write(tmp_path / f"a{suffix}", values)
    assert image_shape(ref) == (1, 2, 2)
    assert torch.equal(read_image(ref)[0], torch.from_numpy(values.astype(np.float32) / 65535))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_float_and_32_bit_tiffs_are_stretched_from_least_to_largest(tmp_path, dtype):
    ref = write(tmp_path / "a.tif", np.array([[-100, 0], [50, 300]], dtype=dtype))
    assert torch.allclose(read_image(ref)[0], torch.tensor([[0.0, 0.25], [0.375, 1.0]]))


def test_a_sixteen_bit_pgm_means_what_a_png_of_the_same_values_means(tmp_path):
    values = np.array([[0, 1000], [32768, 65535]], dtype=np.uint16)
    (tmp_path / "a.pgm").write_bytes(b"P5\n2 2\n65535\n" + values.astype(">u2").tobytes())
    assert torch.equal(read_image(ImageRef(tmp_path / "a.pgm")), read_image(write(tmp_path / "a.png", values)))


def test_levels_give_files_without_a_range_one_scale_and_leave_eight_bits_alone(tmp_path):
    reading = Reading(levels=(0, 400))
    dark = write(tmp_path / "dark.tif", np.array([[0, 100]], dtype=np.float32))
    bright = write(tmp_path / "bright.tif", np.array([[200, 500]], dtype=np.int32))
    deep = write(tmp_path / "deep.png", np.array([[40, 400]], dtype=np.uint16))
    plain = write(tmp_path / "plain.png", np.array([[0, 255]], dtype=np.uint8))
    assert read_image(dark, reading).flatten().tolist() == [0, 0.25]
    assert read_image(bright, reading).flatten().tolist() == [0.5, 1]
    assert torch.allclose(read_image(deep, reading).flatten(), torch.tensor([0.1, 1.0]))
    assert read_image(plain, reading).flatten().tolist() == [0, 1]


def test_of_a_stack_of_pages_the_middle_or_the_named_one_is_read(tmp_path):
    pages = [Image.fromarray(np.full((6, 8), value, dtype=np.uint8)) for value in (0, 51, 255)]
    path = tmp_path / "stack.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert read_image(ImageRef(path)).unique().tolist() == pytest.approx([0.2])
    assert read_image(ImageRef.parse(f"{path}#2")).unique().tolist() == [1]
    with pytest.raises(UserError, match=r"stack\.tif#3': the file has 3 page"):
        read_image(ImageRef.parse(f"{path}#3"))
    pyramid = tmp_path / "pyramid.tif"
    pages[2].save(pyramid, save_all=True, append_images=[pages[0].resize((4, 3))])
    assert read_image(ImageRef(pyramid)).min() == 1


def test_whole_numbers_of_a_tiff_keep_their_sign_and_those_without_one_get_none(tmp_path):
    ref = write(tmp_path / "a.tif", np.array([[0, 255, 128, 127]], np.uint8), tiffinfo={339: 2})  # 0, -1, -128, 127
    assert torch.allclose(read_image(ref).flatten() * 255, torch.tensor([128.0, 127.0, 0.0, 255.0]))
    assert unscaled_range(ref) == (-128, 127, True)
    ref = write(tmp_path / "b.tif", np.array([[0, 1 << 30, -(1 << 31), -1]], np.int32))
    tag = struct.Struct("<HHIHH")  # SampleFormat: with a sign, and without
    content = ref.path.read_bytes()
    assert tag.pack(339, 3, 1, 2, 0) in content
    assert read_image(ref).argmax() == 1
    ref.path.write_bytes(content.replace(tag.pack(339, 3, 1, 2, 0), tag.pack(339, 3, 1, 1, 0)))
    assert torch.allclose(read_image(ref).flatten(), torch.tensor([0, 0.25, 0.5, 1]))


def test_a_float_tiff_with_missing_values_stays_in_range(tmp_path):
    image = read_image(write(tmp_path / "a.tif", np.array([[np.nan, 0], [1, np.inf]], dtype=np.float32)))
    assert image.flatten().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("ground", "value"), [("white", 255), ("grey", 128), ("black", 0)])
def test_transparency_is_laid_over_the_named_ground(tmp_path, ground, value):
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], dtype=np.uint8)
    image = read_image(write(tmp_path / "a.png", rgba), Reading(ground=ground))
    assert (image * 255).round().permute(1, 2, 0).tolist() == [[[200, 100, 50], [value] * 3]]
    grey = write(tmp_path / "b.png", Image.fromarray(np.array([[[200, 255], [200, 0]]], dtype=np.uint8), "LA"))
    assert image_shape(grey) == (1, 1, 2)
    assert (read_image(grey, Reading(ground=ground)) * 255).round().flatten().tolist() == [200, value]


def test_black_ink_on_transparent_ground_is_seen(tmp_path):
    ink = np.zeros((6, 8, 4), dtype=np.uint8)
    ink[2:4, 1:7, 3] = 255
    image = read_image(write(tmp_path / "ink.png", ink))
    assert torch.equal(image, torch.from_numpy(ink[..., 3] == 0).float().expand(3, 6, 8))


def test_palettes_are_resolved_and_a_grey_palette_is_grey(tmp_path):
    colour = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    colour.putpalette([255, 0, 0, 0, 0, 255])
    ref = write(tmp_path / "a.png", colour)
    assert image_shape(ref)[0] == 3
    assert read_image(ref).permute(1, 2, 0).tolist() == [[[1, 0, 0], [0, 0, 1]]]
    grey = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    grey.putpalette([0, 0, 0, 255, 255, 255])
    ref = write(tmp_path / "b.png", grey)
    assert image_shape(ref)[0] == 1
    assert read_image(ref).tolist() == [[[0, 1]]]
    ref = write(tmp_path / "c.png", colour, transparency=0)
    assert read_image(ref).permute(1, 2, 0).tolist() == [[[1, 1, 1], [0, 0, 1]]]


def test_one_bit_and_cmyk_files_are_read(tmp_path):
    ref = write(tmp_path / "a.png", np.array([[0, 255]], dtype=np.uint8), mode="1")
    assert read_image(ref).tolist() == [[[0, 1]]]
    ref = write(tmp_path / "b.tif", np.full((2, 2, 3), 255, dtype=np.uint8), mode="CMYK")
    assert image_shape(ref) == (3, 2, 2)
    assert read_image(ref).min() == 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_the_exif_orientation_is_applied_to_image_and_header_alike(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    halves = np.zeros((16, 32), dtype=np.uint8)
    halves[:, 16:] = 255
    ref = write(tmp_path / f"a{suffix}", halves, exif=exif)
    image = read_image(ref)
    assert image_shape(ref) == tuple(image.shape) == (1, 32, 16)
    assert image[0, 4, 8] < 0.1
    assert image[0, 28, 8] > 0.9


@pytest.mark.parametrize("where", ["xmp", "late"])
def test_an_orientation_of_a_png_is_applied_wherever_it_stands(tmp_path, where):
    info = PngImagePlugin.PngInfo()
    if where == "xmp":
        info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    ref = write(tmp_path / "a.png", RAMP, pnginfo=info)
    if where == "late":  # as ExifTool writes it
        exif = Image.Exif()
        exif[0x0112] = 6
        body = b"eXIf" + exif.tobytes()[6:]
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        content = ref.path.read_bytes()
        ref.path.write_bytes(content[:-12] + chunk + content[-12:])
    assert read_image(ref).shape == (1, 8, 6)
    assert orientation(ref) == 6
    mask = write(tmp_path / "mask.png", np.ones((8, 6), dtype=np.uint8))
    assert read_headers([Record(ref, "a", mask=mask)], mixed_channels=False)[1] == []


def test_a_damaged_file_is_named(tmp_path):
    write(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    path = tmp_path / "a.png"
    path.write_bytes(path.read_bytes()[:-600])
    assert image_shape(ImageRef(path)) == (1, 64, 64)  # the header is whole, and all that opening a set reads
    with pytest.raises(UserError, match=r"cannot read the image '.*a\.png'"):
        read_image(ImageRef(path))
    (tmp_path / "b.jpg").write_text("not an image")
    with pytest.raises(UserError, match=r"cannot read the image '.*b\.jpg'"):
        image_shape(ImageRef(tmp_path / "b.jpg"))
    with pytest.raises(UserError, match=r"no image file '.*c\.png' \(did you mean '.\.png'\?\)"):
        read_image(ImageRef(tmp_path / "c.png"))


def test_a_slice_of_a_plain_picture_is_refused(tmp_path):
    write(tmp_path / "a.png", RAMP)
    with pytest.raises(UserError, match="asks for a slice"):
        read_image(ImageRef.parse(f"{tmp_path}/a.png#3"))


def test_a_file_that_has_a_number_sign_in_its_name_is_no_slice(tmp_path):
    write(tmp_path / "a.png#3", Image.fromarray(RAMP), format="PNG")
    assert ImageRef.parse("a.png#3", tmp_path) == ImageRef(tmp_path / "a.png#3")
    assert ImageRef.parse("b.nii.gz#3", tmp_path) == ImageRef(tmp_path / "b.nii.gz", 3)


def test_grey_repeats_to_rgb_and_rgb_becomes_its_luminance():
    grey = torch.rand(2, 1, 3, 4)
    assert torch.equal(to_channels(grey, 3), grey.expand(2, 3, 3, 4))
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    assert to_channels(red, 1).item() == pytest.approx(0.299)
    assert torch.allclose(to_channels(to_channels(grey, 3), 1), grey)


def test_fit_crops_the_centre_and_resizes_the_short_side():
    image = torch.zeros(1, 1, 8, 16)
    image[..., 4:12] = 1
    assert torch.equal(fit(image, 8), torch.ones(1, 1, 8, 8))
    assert fit(torch.rand(1, 3, 33, 57), 12).shape == (1, 3, 12, 12)
    assert torch.allclose(fit(torch.full((1, 1, 5, 9), 0.3), 16), torch.tensor(0.3))


def test_a_line_of_pixels_is_cropped_before_it_is_enlarged(monkeypatch):
    enlarged = []
    real = torch.nn.functional.interpolate

    def watched(images, **options):
        enlarged.append(options["size"])
        return real(images, **options)

    monkeypatch.setattr("cae.data.images.interpolate", watched)
    line = torch.zeros(1, 1, 1, 20_000)
    line[..., 9_999:10_001] = 1
    assert torch.equal(fit(line, 64), torch.ones(1, 1, 64, 64))
    assert enlarged == [(64, 256)]


def test_a_long_image_may_be_padded_or_stretched_instead_and_its_mask_with_it(tmp_path):
    values = np.zeros((40, 400), np.uint8)
    values[:, 380:] = 255  # an object at the end, which a crop of the centre loses
    path = write(tmp_path / "long.png", Image.fromarray(values))
    found = {mode: load_mask(path, 40, mode=mode) for mode in ("crop", "pad", "stretch")}
    assert {mode: int(mask.sum()) for mode, mask in found.items()} == {"crop": 0, "pad": 2 * 4, "stretch": 2 * 40}
    padded = load_image(path, 40, 1, reading=Reading(fit="pad"))
    assert padded[0, 18:22].mean().item() == pytest.approx(0.05, abs=1e-6)  # the image itself
    assert torch.allclose(padded[0, :18], torch.tensor(0.05))  # its mean
    assert load_image(path, 40, 1, reading=Reading(fit="stretch"))[0, :, 38:].min() > 0.8


def test_what_is_filled_up_around_a_mask_is_outside(tmp_path):
    path = write(tmp_path / "mask.png", Image.fromarray(np.full((10, 20), 255, np.uint8)))
    assert load_mask(path, 20, mode="pad")[0].sum(1).tolist() == [0] * 5 + [20] * 10 + [0] * 5


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / "large.png", Image.new("1", (2000, 1000)))
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 500_000)  # Pillow alone refuses what is twice as large
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    for act in (lambda: ImageFiles(path.path, 16, 1, reading=Reading(max_megapixels=1.5)),
                lambda: load_image(path, 16, 1, reading=Reading(max_megapixels=1.5))):  # fmt: skip
        with pytest.raises(UserError, match=r"2000 × 1000 pixels, 2 megapixels: set `data.max_megapixels=2`"):
            act()
    assert image_shape(path, 2) == (1, 1000, 2000)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_large_picture_is_made_smaller_as_bytes_and_looks_the_same(tmp_path, suffix, monkeypatch):
    coarse = np.random.default_rng(0).integers(0, 255, (9, 12, 3)).astype(np.uint8)
    picture = Image.fromarray(coarse).resize((480, 360), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / f"a{suffix}", exif=exif)
    plain = load_image(ImageRef(tmp_path / f"a{suffix}"), 16, 3)
    mask = load_mask(ImageRef(tmp_path / f"a{suffix}"), 16)
    monkeypatch.setattr("cae.data.pictures.LARGE", 100_000)
    assert read_image(ImageRef(tmp_path / f"a{suffix}"), least_side=16).shape == (3, 96, 72)
    assert (load_image(ImageRef(tmp_path / f"a{suffix}"), 16, 3) - plain).abs().max() < 0.03
    assert torch.equal(load_mask(ImageRef(tmp_path / f"a{suffix}"), 16), mask)


def test_fit_is_antialiased():
    stripes = (torch.arange(64) % 2).float().expand(1, 1, 64, 64)
    assert (fit(stripes, 8)[..., 1:-1] - 0.5).abs().max() < 0.05


def test_an_image_of_the_wanted_size_is_left_exactly_as_it_is(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    image = load_image(write(tmp_path / "a.png", values), 8, 1)
    assert torch.equal(image[0], torch.from_numpy(values / np.float32(255)))


def test_masks_are_everything_but_zero(tmp_path):
    labels = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    expected = [[[False, True], [True, True]]]
    assert read_mask(write(tmp_path / "a.png", labels)).tolist() == expected
    assert read_mask(write(tmp_path / "b.png", labels.astype(np.uint16))).tolist() == expected
    palette = Image.fromarray(labels, "P")
    palette.putpalette([0, 0, 0] + [9, 9, 9] * 255)
    assert read_mask(write(tmp_path / "c.png", palette)).tolist() == expected
    assert read_mask(write(tmp_path / "d.tif", np.ones((2, 2), dtype=np.float32))).all()


@pytest.mark.parametrize(("suffix", "value"), [(".jpg", 1), (".jpg", 100), (".webp", 1)])
def test_a_lossy_mask_of_small_values_is_not_empty(tmp_path, suffix, value):
    mask = np.zeros((24, 32), dtype=np.uint8)
    mask[8:16, 8:24] = value
    options = {"lossless": True} if suffix == ".webp" else {"quality": 95}
    ref = write(tmp_path / f"a{suffix}", mask, **options)
    assert torch.equal(read_mask(ref)[0], torch.from_numpy(mask > 0))


def test_a_mask_drawn_in_opacity_alone_is_its_opaque_pixels(tmp_path):
    rgba = np.zeros((6, 8, 4), dtype=np.uint8)
    rgba[2:4, 3:6, 3] = 255
    assert torch.equal(read_mask(write(tmp_path / "a.png", rgba))[0], torch.from_numpy(rgba[..., 3] > 0))
    rgba[..., 3] = 255
    assert not read_mask(write(tmp_path / "b.png", rgba)).any()


def test_a_jpeg_mask_is_cut_at_one_half(tmp_path):
    square = np.zeros((32, 32), dtype=np.uint8)
    square[8:24, 8:24] = 255
    assert torch.equal(read_mask(write(tmp_path / "a.jpg", square))[0], torch.from_numpy(square > 0))


@pytest.mark.parametrize("kind", [bool, np.uint8, np.uint16])
def test_a_tiff_that_shows_its_least_value_as_white_is_shown_so_and_its_mask_is_what_is_stored(tmp_path, kind):
    white = {bool: 1, np.uint8: 255, np.uint16: 65535}[kind]
    ref = write(tmp_path / "a.tif", np.array([[0, white]], dtype=kind))
    tag = struct.Struct("<HHIHH")  # PhotometricInterpretation, as scanners, ImageJ and tifffile write it
    content = ref.path.read_bytes()
    assert tag.pack(262, 3, 1, 1, 0) in content
    ref.path.write_bytes(content.replace(tag.pack(262, 3, 1, 1, 0), tag.pack(262, 3, 1, 0, 0)))
    assert read_image(ref).flatten().tolist() == [1, 0]
    assert read_mask(ref).flatten().tolist() == [False, True]


def test_a_mask_goes_through_the_same_geometry_as_its_image(tmp_path):
    square = np.zeros((40, 64), dtype=np.uint8)
    square[10:30, 22:42] = 255
    ref = write(tmp_path / "a.png", square)
    mask, image = load_mask(ref, 20), load_image(ref, 20, 1)
    assert mask.shape == (1, 20, 20)
    assert torch.equal(mask, image >= 0.5)
    assert mask.sum() == 100


def test_listing_is_sorted_recursive_and_skips_what_is_no_image(tmp_path):
    for name in ("b/2.png", "b/1.PNG", "a.png", "b/.hidden.png", "__MACOSX/x.png"):
        write(tmp_path / name, Image.fromarray(RAMP), format="PNG")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)] == ["a.png", "b/1.PNG", "b/2.png"]


def test_only_image_suffixes_are_taken_off():
    assert without_suffix("a/scan.nii.gz") == "a/scan"
    assert without_suffix("a/1.2.840.113") == "a/1.2.840.113"
    assert without_suffix("a.b.JPG") == "a.b"
    assert not is_image(ImageRef.parse("notes.txt").path)


def test_image_files_are_a_folder_or_one_file_without_labels(tmp_path):
    write(tmp_path / "b" / "2.png", RAMP)
    write(tmp_path / "a.png", np.zeros((9, 9, 3), dtype=np.uint8))
    files = ImageFiles(tmp_path, image_size=8, channels=1)
    assert files.ids == ["a.png", "b/2.png"]
    assert files.labels.tolist() == [-1, -1]
    assert [files[i].image.shape for i in range(2)] == [(1, 8, 8)] * 2
    assert files[1].mask is None
    assert [sample.id for sample in files] == files.ids  # iteration ends, as indexing past the end raises IndexError
    assert ImageFiles(tmp_path / "a.png", 8, 3).ids == ["a.png"]


def test_jpegs_under_other_suffixes_are_read(tmp_path):
    for name in ("a.jfif", "b.jpe"):
        write(tmp_path / name, Image.fromarray(RAMP), format="JPEG")
    assert ImageFiles(tmp_path, 8, 1).ids == ["a.jfif", "b.jpe"]


def test_files_that_are_not_read_are_counted_by_kind(tmp_path):
    for name in ("a.png", "b.heic", "c.HEIC", "notes", "@eaDir/t.png", ".cache/t.png"):
        write(tmp_path / name, Image.fromarray(RAMP), format="PNG")
    first, second = ImageFiles(tmp_path, 8, 1).notes
    assert first.startswith(f"3 file(s) below '{tmp_path}' were not read")
    assert first.endswith("2 .heic, 1 no suffix.")
    assert second == f"2 folder(s) below '{tmp_path}' were skipped: '.cache', '@eaDir'."


def test_image_files_list_all_that_is_wrong(tmp_path):
    with pytest.raises(UserError, match=r"no image in .* \(looked for \.png"):
        ImageFiles(tmp_path, 8, 1)
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_text("x")
    with pytest.raises(UserError) as caught:
        ImageFiles(tmp_path, 8, 1)
    assert len(caught.value.problems) == 2
    with pytest.raises(UserError, match="no image file"):
        ImageFiles(tmp_path / "absent.png", 8, 1)

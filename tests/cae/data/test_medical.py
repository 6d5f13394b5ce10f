"""DICOM and NIfTI: written with a known window, read back exactly."""

from __future__ import annotations

import builtins
import tracemalloc

import numpy as np
import pytest
import torch
from dicom_files import write_dicom

from cae.data.file_listing import is_image, list_images
from cae.data.headers import image_shape
from cae.data.images import ImageRef, Reading, read_image, read_mask, unscaled_range
from cae.data.medical import nifti_misfit, nifti_percentiles
from cae.data.records import ImageFiles
from cae.errors import UserError

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")


def test_a_dicom_window_follows_the_standard(tmp_path):
    stored = np.array([[0, 1024, 1064, 1074, 1124, 3000]], dtype=np.int16)
    ref = write_dicom(
        tmp_path / "a.dcm", stored, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=[50, 400], WindowWidth=[101, 9]
    )
    assert image_shape(ref) == (1, 1, 6)
    # PS3.3 C.11.2.1.2: from 50 - 0.5 - 50 = -0.5 (black) to 99.5 (white)
    expected = torch.tensor([[0.0, 0.005, 0.405, 0.505, 1.0, 1.0]])
    assert torch.allclose(read_image(ref)[0], expected, atol=1e-6)


def test_a_dicom_window_agrees_with_pydicom(tmp_path):
    from pydicom.pixels import apply_modality_lut, apply_windowing

    stored = np.random.default_rng(0).integers(-1000, 2000, (5, 7), dtype=np.int16)
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        ref = write_dicom(
            tmp_path / f"{function}.dcm", stored, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=300,
            WindowWidth=1500, VOILUTFunction=function,
        )  # fmt: skip
        dataset = pydicom.dcmread(ref.path)
        theirs = apply_windowing(apply_modality_lut(dataset.pixel_array, dataset), dataset)
        # pydicom scales to the range of rescaled values: 2 v - 100 for v in [-32768, 32767]
        low, high = 2 * -32768 - 100, 2 * 32767 - 100
        assert torch.allclose(read_image(ref)[0], torch.from_numpy((theirs - low) / (high - low)).float(), atol=1e-5)


def test_monochrome1_is_inverted(tmp_path):
    stored = np.array([[0, 51], [204, 255]], dtype=np.uint8)
    ref = write_dicom(tmp_path / "a.dcm", stored, photometric="MONOCHROME1")
    assert torch.allclose(read_image(ref)[0], torch.tensor([[1.0, 0.8], [0.2, 0.0]]))


def test_dicom_without_a_window_is_stretched_between_percentiles(tmp_path):
    stored = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    image = read_image(write_dicom(tmp_path / "a.dcm", stored))
    low, high = np.percentile(stored, (0.5, 99.5))
    assert torch.allclose(image[0], torch.from_numpy((stored - low) / (high - low)).clamp(0, 1).float(), atol=1e-6)


def test_colour_dicom_is_rgb(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    ref = write_dicom(tmp_path / "a.dcm", pixels, photometric="RGB")
    assert image_shape(ref) == (3, 4, 5)
    assert torch.allclose(read_image(ref), torch.from_numpy(pixels).permute(2, 0, 1) / 255)


def test_ybr_dicom_is_converted_once(tmp_path):
    from pydicom.pixels import convert_color_space

    rgb = np.full((4, 4, 3), (200, 100, 50), dtype=np.uint8)
    ref = write_dicom(tmp_path / "a.dcm", convert_color_space(rgb, "RGB", "YBR_FULL"), photometric="YBR_FULL")
    assert torch.allclose(read_image(ref)[:, 0, 0] * 255, torch.tensor([200.0, 100.0, 50.0]), atol=2)


def test_frames_of_a_dicom_file_are_chosen_by_number_or_the_middle_is_taken(tmp_path):
    frames = np.stack([np.full((3, 4), value, dtype=np.uint8) for value in (0, 51, 102, 153, 204)])
    write_dicom(tmp_path / "a.dcm", frames)
    assert read_image(ImageRef(tmp_path / "a.dcm")).max() == pytest.approx(0.4)
    assert read_image(ImageRef.parse("a.dcm#4", tmp_path)).max() == pytest.approx(0.8)
    for reader in (image_shape, read_image):
        with pytest.raises(UserError, match="5 slice"):
            reader(ImageRef.parse("a.dcm#5", tmp_path))


def test_one_frame_of_many_compressed_ones_is_decoded_alone(tmp_path):
    path = tmp_path / "a.dcm"
    write_dicom(path, np.zeros((40, 512, 512), dtype=np.uint8))
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(path)
    assert path.stat().st_size < 500_000
    read_image(ImageRef(path))  # imports are no part of it
    tracemalloc.start()
    read_image(ImageRef(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000  # some copies of one frame, of 1 MB each; the bytes of all frames are 10 MB


def test_a_dicom_file_without_suffix_is_known_by_its_first_bytes(tmp_path):
    for name in ("IM0001", "1.2.840.10008"):
        write_dicom(tmp_path / name, np.full((4, 4), 255, dtype=np.uint8))
    (tmp_path / "README").write_text("x" * 200)
    assert [path.name for path in list_images(tmp_path)] == ["1.2.840.10008", "IM0001"]
    assert not is_image(tmp_path / "README")
    assert ImageFiles(tmp_path, 8, 1)[0].image.min() == 1


def test_a_damaged_dicom_file_is_named(tmp_path):
    (tmp_path / "a.dcm").write_text("x")
    with pytest.raises(UserError, match=r"cannot read the image '.*a\.dcm'"):
        image_shape(ImageRef(tmp_path / "a.dcm"))


def write_nifti(path, values, low=0.0, high=0.0):
    volume = nibabel.Nifti1Image(values, np.eye(4))
    volume.header["cal_min"], volume.header["cal_max"] = low, high
    nibabel.save(volume, path)
    return ImageRef(path)


def test_a_nifti_window_is_its_calibration(tmp_path):
    values = np.array([[-10, 0, 50], [100, 150, 25]], dtype=np.int16)  # x runs over rows here, y over columns
    ref = write_nifti(tmp_path / "a.nii.gz", values, 0, 100)
    assert image_shape(ref) == (1, 3, 2)
    # shown as viewers do: x to the right, y upwards
    assert read_image(ref)[0].tolist() == [[0.5, 0.25], [0.0, 1.0], [0.0, 1.0]]


def test_a_nifti_volume_gives_its_middle_or_the_named_slice_in_one_common_window(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 5, 9)).astype(np.float32) * np.arange(1, 10, dtype=np.float32)
    ref = write_nifti(tmp_path / "a.nii", values)
    low, high = np.percentile(values, (0.5, 99.5))

    def expected(index):
        return torch.from_numpy(np.rot90((values[..., index] - low) / (high - low)).copy()).clamp(0, 1).float()

    assert torch.allclose(read_image(ref)[0], expected(4), atol=1e-5)
    assert torch.allclose(read_image(ImageRef.parse("a.nii#8", tmp_path))[0], expected(8), atol=1e-5)
    for reader in (image_shape, read_image):
        with pytest.raises(UserError, match=r"a\.nii#9': the file has 9 slice"):
            reader(ImageRef.parse("a.nii#9", tmp_path))


def test_of_a_volume_that_would_fill_memory_slices_spread_over_it_tell_the_window(tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(size=(6, 5, 9)).astype(np.float32) * np.arange(1, 10, dtype=np.float32)
    write_nifti(tmp_path / "a.nii.gz", values)
    monkeypatch.setattr("cae.data.medical.MOST_VALUES", 3 * 6 * 5 + 1)
    low, high = np.percentile(values[..., [0, 4, 8]], (0.5, 99.5))
    assert nifti_percentiles(tmp_path / "a.nii.gz") == pytest.approx((low, high))


def stored_as(path, image, axes):
    orient = nibabel.orientations
    there = orient.ornt_transform(orient.io_orientation(image.affine), orient.axcodes2ornt(axes))
    nibabel.save(image.as_reoriented(there), path)
    return ImageRef(path, 2)


@pytest.mark.parametrize("axes", ["LPS", "PSR", "RSA", "AIL", "IRP"])
def test_a_volume_gives_the_same_slices_in_every_storage_order(tmp_path, axes):
    values = np.random.default_rng(0).integers(0, 100, (4, 5, 6)).astype(np.float32)
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.header["cal_max"] = 100
    plain, turned = stored_as(tmp_path / "a.nii.gz", image, "RAS"), stored_as(tmp_path / "b.nii.gz", image, axes)
    assert image_shape(turned) == image_shape(plain) == (1, 5, 4)
    assert torch.equal(read_image(turned), read_image(plain))
    assert torch.allclose(read_image(plain)[0] * 100, torch.from_numpy(np.rot90(values[..., 2]).copy()))
    mask = nibabel.Nifti1Image((values > 50).astype(np.uint8), np.eye(4))
    assert torch.equal(read_mask(stored_as(tmp_path / "m.nii", mask, axes)), (read_image(plain) > 0.5))


def test_a_volume_whose_header_tells_no_orientation_is_read_as_stored(tmp_path):
    values = np.random.default_rng(0).integers(0, 100, (4, 5, 6)).astype(np.float32)
    image = nibabel.Nifti1Image(values, None)
    image.header["cal_max"] = 100
    nibabel.save(image, tmp_path / "a.nii")
    expected = torch.from_numpy(np.rot90(values[..., 3]).copy()) / 100
    assert torch.allclose(read_image(ImageRef(tmp_path / "a.nii"))[0], expected)


def test_a_mask_that_does_not_lie_on_the_voxels_of_its_image_is_a_misfit(tmp_path):
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), dtype=np.float32), np.eye(4))
    shifted = np.eye(4)
    shifted[0, 3] = 3
    paths = {name: tmp_path / f"{name}.nii" for name in ("image", "same", "turned", "shifted", "untold")}
    for name in ("image", "same"):
        nibabel.save(image, paths[name])
    stored_as(paths["turned"], image, "LPS")
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), shifted), paths["shifted"])
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), None), paths["untold"])
    assert nifti_misfit(paths["image"], paths["same"]) == nifti_misfit(paths["turned"], paths["image"]) == ""
    assert nifti_misfit(paths["image"], paths["shifted"]) == "they lie 3 voxels apart in space"
    assert nifti_misfit(paths["image"], paths["untold"]) == ""  # stored in the same order
    assert "the header of the mask tells no orientation" in nifti_misfit(paths["turned"], paths["untold"])


@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_levels_are_one_scale_for_files_without_a_window(tmp_path, kind):
    values = np.array([[0, 100], [200, 1000]], dtype=np.int16)
    ref = write_dicom(tmp_path / "a.dcm", values) if kind == "dicom" else write_nifti(tmp_path / "a.nii", values)
    image = read_image(ref, Reading(levels=(0, 400)))
    assert sorted(image.flatten().tolist()) == [0, 0.25, 0.5, 1]
    assert unscaled_range(ref)[2]
    window = write_dicom(tmp_path / "b.dcm", values, WindowCenter=500.5, WindowWidth=1001)
    assert torch.equal(read_image(window, Reading(levels=(0, 400))), read_image(window))
    assert unscaled_range(window) is None


def test_look_up_tables_and_inverse_presentation_of_dicom_are_applied(tmp_path):
    from pydicom.dataset import Dataset

    def table(values, bits):
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [len(values), 0, bits])
        item.add_new("LUTData", "US", values)
        return [item]

    stored = np.array([[0, 1, 2, 3]], dtype=np.uint16)
    voi = write_dicom(tmp_path / "voi.dcm", stored, VOILUTSequence=table([0, 255, 51, 102], 8))
    assert torch.allclose(read_image(voi)[0, 0], torch.tensor([0.0, 1.0, 0.2, 0.4]))
    modality = write_dicom(
        tmp_path / "modality.dcm", stored, ModalityLUTSequence=table([0, 300, 100, 200], 16), WindowCenter=150.5,
        WindowWidth=301,
    )  # fmt: skip
    assert torch.allclose(read_image(modality)[0, 0], torch.tensor([0, 1, 1 / 3, 2 / 3]), atol=1e-6)
    plain = np.array([[0, 51, 255]], dtype=np.uint8)
    inverse = write_dicom(tmp_path / "inverse.dcm", plain, PresentationLUTShape="INVERSE")
    both = write_dicom(tmp_path / "both.dcm", plain, "MONOCHROME1", PresentationLUTShape="INVERSE")
    for ref in (inverse, both):
        assert torch.allclose(read_image(ref)[0, 0], torch.tensor([1.0, 0.8, 0.0]))


def test_the_first_volume_of_a_time_series_is_taken(tmp_path):
    values = np.zeros((4, 4, 3, 2), dtype=np.float32)
    values[..., 0] = 1
    values[0, 0] = 0
    assert read_image(write_nifti(tmp_path / "a.nii.gz", values, 0, 1)).sum() == 15


def test_a_rewritten_nifti_file_gets_a_new_window(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    first = read_image(write_nifti(tmp_path / "a.nii", values))
    assert torch.allclose(read_image(write_nifti(tmp_path / "a.nii", values.astype(np.float64) * 10)), first, atol=1e-5)


def test_a_nifti_mask_is_read_unscaled(tmp_path):
    values = np.zeros((4, 4, 3), dtype=np.uint8)
    values[1, 2, 1] = 7
    mask = read_mask(write_nifti(tmp_path / "a.nii.gz", values))
    assert mask.shape == (1, 4, 4)
    assert mask.nonzero().tolist() == [[0, 1, 1]]


def test_a_missing_package_is_answered_with_the_extra(tmp_path, monkeypatch):
    write_dicom(tmp_path / "a.dcm", np.zeros((4, 4), dtype=np.uint8))
    write_nifti(tmp_path / "a.nii", np.zeros((4, 4), dtype=np.uint8))
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name in ("pydicom", "nibabel"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError) as caught:
        ImageFiles(tmp_path, 8, 1)
    assert len(caught.value.problems) == 2
    assert all('pip install "cae-explain[medical]"' in problem for problem in caught.value.problems)


def test_an_enhanced_dicom_file_is_rescaled_and_windowed_by_its_groups(tmp_path):
    def group(**values):
        item = pydicom.Dataset()
        for name, value in values.items():
            setattr(item, name, value)
        return item

    rescaled = group(PixelValueTransformationSequence=[group(RescaleSlope=1, RescaleIntercept=-1000)])
    frames = [
        group(FrameVOILUTSequence=[group(WindowCenter=centre, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")])
        for centre in (50, 150)
    ]
    stored = np.array([[1000, 1050, 1100, 1150, 1200]], dtype=np.uint16)
    ref = write_dicom(
        tmp_path / "a.dcm", np.stack([stored, stored]),
        SharedFunctionalGroupsSequence=[rescaled], PerFrameFunctionalGroupsSequence=frames,
    )  # fmt: skip
    assert read_image(ImageRef(ref.path, 0)).flatten().tolist() == [0, 0.5, 1, 1, 1]
    assert read_image(ImageRef(ref.path, 1)).flatten().tolist() == [0, 0, 0, 0.5, 1]
    assert unscaled_range(ref) is None


@pytest.mark.parametrize(("photometric", "shown"), [("MONOCHROME2", [0, 0, 0, 1]), ("MONOCHROME1", [0, 1, 0, 0])])
def test_what_fills_up_a_dicom_picture_moves_no_level_and_is_black(tmp_path, photometric, shown):
    stored = np.full((10, 10), -2000, dtype=np.int16)  # as far as the scanner has seen nothing
    stored[5:, :5], stored[5:, 5:] = 0, 100
    ref = write_dicom(tmp_path / "a.dcm", stored, photometric=photometric, PixelPaddingValue=-2000)
    assert unscaled_range(ref) == (0, 100, True)
    assert read_image(ref)[0, [0, 5, 0, 5], [0, 0, 9, 9]].tolist() == shown


def test_complex_volumes_are_refused_with_a_way_out(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 3), 1j, np.complex64), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(UserError, match="holds complex numbers; save their magnitude"):
        read_image(ImageRef(tmp_path / "a.nii"))

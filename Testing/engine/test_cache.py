"""Preprocessed volumes: prepared once, recognized by content and plan, and read without filling memory."""

import dataclasses
import json
import os
import shutil
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.data import cache, cached_case
from contrastiveseg.data.cache import preprocess, remove_cache
from contrastiveseg.data.cached_case import CachedCase
from contrastiveseg.data.cached_volumes import CachedVolumes
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Event, Log
from contrastiveseg.planning.plan import Channel, Normalization, Plan
from contrastiveseg.volumes.dataset import find_cases

PLAN = Plan(3, (Channel("image", "MR"),), (20.0, 20.0, 22.0), (8, 16, 16))


@pytest.fixture
def cases(dataset):
    return find_cases([dataset / "imagesTr"], [dataset / "labelsTr"])


@pytest.fixture
def prepared(monkeypatch):
    """Names of the cases that were preprocessed, not taken from the cache, in order."""
    names: list[str] = []
    preprocess_case = cache.preprocess_case

    def counted(case, *rest):
        names.append(case.name)
        return preprocess_case(case, *rest)

    monkeypatch.setattr(cache, "preprocess_case", counted)
    return names


def one_worker(monkeypatch):
    monkeypatch.setattr(cache.torch, "get_num_threads", lambda: 1)


def test_a_cancelled_run_is_continued_and_not_repeated(cases, prepared, tmp_path, monkeypatch):
    one_worker(monkeypatch)
    with pytest.raises(Cancelled, match="kept"):
        preprocess(cases, PLAN, tmp_path, cancelled=lambda: len(prepared) >= 2)
    assert prepared == [c.name for c in cases[:2]]
    seen: list[Event] = []
    cached = preprocess(cases, PLAN, tmp_path, emit=seen.append)
    assert prepared == [c.name for c in cases]
    assert [c.name for c in cached] == prepared
    assert [e.done for e in seen] == [1, 2, 3, 4]
    assert preprocess(cases, PLAN, tmp_path) == cached
    assert len(prepared) == 4


def test_a_new_folder_is_private_and_one_that_is_there_keeps_its_rights(cases, tmp_path):
    new, shared = tmp_path / "new", tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o750)
    for folder in (new, shared):
        preprocess(cases[:1], PLAN, folder)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (new, shared)] == [0o700, 0o750]


def test_cases_prepared_at_the_same_time_have_the_bytes_of_those_prepared_in_series(cases, tmp_path, monkeypatch):
    one_worker(monkeypatch)
    series = preprocess(cases, PLAN, tmp_path / "series")
    monkeypatch.setattr(cache.torch, "get_num_threads", lambda: 2)
    preprocess_case, together = cache.preprocess_case, threading.Barrier(2, timeout=60)

    def meeting(*arguments):
        together.wait()
        return preprocess_case(*arguments)

    monkeypatch.setattr(cache, "preprocess_case", meeting)
    assert preprocess(cases, PLAN, tmp_path / "together") == series
    files = {file.name: file.read_bytes() for file in (tmp_path / "series").iterdir()}
    assert {file.name: file.read_bytes() for file in (tmp_path / "together").iterdir()} == files
    assert len(files) == 16


def test_memory_is_kept_for_the_next_case_before_the_first_is_read(cases, prepared, tmp_path, monkeypatch):
    """New memory for each array would cost a tenth of the time."""
    read_before: list[int] = []
    monkeypatch.setattr(cache, "keep_large_buffers", lambda: read_before.append(len(prepared)))
    preprocess(cases, PLAN, tmp_path)
    assert read_before == [0]


@pytest.mark.parametrize(("volumes", "threads"), [(1.5, 1), (3.5, 3), (100, 4)])
def test_no_more_cases_are_prepared_at_once_than_the_memory_holds(cases, monkeypatch, volumes, threads):
    needed = cache._COPIES * 4 * 12 * 16 * 16
    monkeypatch.setattr(cache.torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(cache, "free_memory", lambda unknown: int(volumes * needed))
    assert cache._at_once(cases, PLAN) == threads


def test_a_killed_run_leaves_nothing_that_counts(cases, prepared, tmp_path):
    """Killed between the arrays and the record: the case is prepared again."""
    (cached,) = preprocess(cases[:1], PLAN, tmp_path)
    (tmp_path / f"{cached.key}.json").unlink()
    assert preprocess(cases[:1], PLAN, tmp_path) == [cached]
    assert len(prepared) == 2


@pytest.mark.parametrize("part", [".json", ".npy", ".labels.npy", ".foreground.npy"])
@pytest.mark.parametrize("left", [None, 0.0, 0.5])
def test_damaged_files_are_prepared_again(cases, prepared, tmp_path, part, left):
    (cached,) = preprocess(cases[:1], PLAN, tmp_path)
    damaged = tmp_path / f"{cached.key}{part}"
    intact = damaged.read_bytes()
    damaged.unlink()
    if left is not None:
        damaged.write_bytes(intact[: int(len(intact) * left)])
    assert preprocess(cases[:1], PLAN, tmp_path) == [cached]
    assert len(prepared) == 2
    assert damaged.read_bytes() == intact


def test_key_follows_content_and_plan_and_not_the_name(cases, dataset, tmp_path):
    def key(case, plan=PLAN, labels=False):
        case = case if labels else dataclasses.replace(case, labels=None)
        return preprocess([case], plan, tmp_path / "cache")[0].key

    first = key(cases[0])
    renamed = tmp_path / "another.nii.gz"
    shutil.copy(cases[0].images[0], renamed)
    copy = dataclasses.replace(cases[0], name="another", images=(renamed,))
    assert key(copy) == first
    assert preprocess([copy], PLAN, tmp_path / "cache")[0].name == "another"
    assert key(cases[0], dataclasses.replace(PLAN, patch=(4, 4, 4))) == first
    others = [
        key(cases[1]),
        key(cases[0], dataclasses.replace(PLAN, spacing=(20.0, 20.0, 20.0))),
        key(cases[0], dataclasses.replace(PLAN, dimensions=2)),
        key(cases[0], labels=True),
        key(dataclasses.replace(cases[0], labels=cases[1].labels), labels=True),
    ]
    assert len({first, *others}) == 6
    changed = sitk.ReadImage(str(renamed))
    changed[0, 0, 0] = 7
    sitk.WriteImage(changed, str(renamed))
    assert key(copy) != first


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_key_follows_voxels_kept_beside_their_header(cases, tmp_path, ending):
    image = sitk.ReadImage(str(cases[0].images[0]))
    path = tmp_path / f"case{ending}"
    case = dataclasses.replace(cases[0], images=(path,))
    sitk.WriteImage(image, str(path))
    (before,) = preprocess([case], PLAN, tmp_path / "cache")
    header = path.read_bytes()
    image[0, 0, 0] = image[0, 0, 0] + 900
    sitk.WriteImage(image, str(path))
    assert path.read_bytes() == header
    (after,) = preprocess([case], PLAN, tmp_path / "cache")
    assert (before.key, before.digest) != (after.key, after.digest)


def test_voxels_and_labels_are_those_of_the_file(cases, tmp_path):
    source = CachedVolumes(tmp_path, preprocess(cases, PLAN, tmp_path), [1, 2, 3])
    assert len(source) == 4
    for index, case in enumerate(cases):
        shape = source.shape(index)
        assert shape == (12, 16, 16)
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(case.labels)))
        np.testing.assert_array_equal(source.label_crop(index, (0, 0, 0), shape), labels)
        image = source.crop(index, (0, 0, 0), shape)
        assert (image.shape, image.dtype) == ((1, *shape), np.float32)
        raw = sitk.GetArrayFromImage(sitk.ReadImage(str(case.images[0]))).ravel()
        assert np.corrcoef(raw, image.ravel())[0, 1] > 0.99
        for value, *voxel in source.foreground_voxels(index):
            assert labels[tuple(voxel)] == value
        assert {int(v) for v in np.unique(source.foreground_voxels(index)[:, 0])} == set(np.unique(labels)) - {0}


def test_classes_are_numbered_in_order_and_other_values_are_background(cases, tmp_path):
    cached = preprocess(cases[:1], PLAN, tmp_path)
    assert cached[0].values == (1, 2, 3)
    every, some = CachedVolumes(tmp_path, cached, [1, 2, 3]), CachedVolumes(tmp_path, cached, [3, 1])
    classes = every.label_crop(0, (0, 0, 0), (12, 16, 16))
    np.testing.assert_array_equal(some.label_crop(0, (0, 0, 0), (12, 16, 16)), np.array([0, 2, 0, 1])[classes])
    assert set(some.foreground_voxels(0)[:, 0]) == {1, 2}


def test_some_of_the_volumes_keep_their_data_sets(cases, tmp_path):
    cached = preprocess(cases[:3], PLAN, tmp_path)
    some = CachedVolumes(tmp_path, cached, data_sets=[1, 2]).subset([2, 0])
    assert [case.name for case in some.cases] == [cached[2].name, cached[0].name]
    assert [some.data_set(0), some.data_set(1)] == [1, 0]


def test_an_unlabeled_volume_has_neither_classes_nor_foreground_voxels(cases, tmp_path):
    mixed = [cases[0], dataclasses.replace(cases[1], labels=None)]
    source = CachedVolumes(tmp_path, preprocess(mixed, PLAN, tmp_path), [1, 2, 3])
    assert (source.labeled, source.unlabeled) == ((0,), (1,))
    assert source.cases[1].values is None
    crops = [source.label_crop(case, (-2, 0, 0), (4, 5, 6)) for case in range(2)]
    assert crops[0].dtype == crops[1].dtype
    assert (crops[1].shape, np.unique(crops[1]).tolist()) == ((4, 5, 6), [-1])
    assert source.foreground_voxels(1).shape == (0, 4)
    assert len(source.foreground_voxels(0)) > 0
    assert source.subset([1, 0]).unlabeled == (0,)


@pytest.mark.parametrize(
    ("start", "size"),
    [
        ((2, 3, 4), (4, 5, 6)),
        ((-3, -2, -1), (6, 6, 6)),
        ((10, 12, 14), (8, 8, 8)),
        ((-2, -2, -2), (20, 20, 20)),
        ((50, 0, 0), (2, 2, 2)),
    ],
)
def test_crops_may_reach_outside(cases, tmp_path, start, size):
    source = CachedVolumes(tmp_path, preprocess(cases[:1], PLAN, tmp_path), [1, 2, 3])
    volume, labels = source.crop(0, (0, 0, 0), (12, 16, 16)), source.label_crop(0, (0, 0, 0), (12, 16, 16))
    wide = 64
    image = np.full((1, *(n + 2 * wide for n in labels.shape)), volume[:, 0, 0, 0].min(), np.float32)
    truth = np.zeros(image.shape[1:], np.uint8)
    inside = tuple(slice(wide, wide + n) for n in labels.shape)
    image[(0, *inside)], truth[inside] = volume[0], labels
    part = tuple(slice(wide + s, wide + s + n) for s, n in zip(start, size, strict=True))
    np.testing.assert_array_equal(source.crop(0, start, size), image[(slice(None), *part)])
    np.testing.assert_array_equal(source.label_crop(0, start, size), truth[part])


def test_crops_are_copies(cases, tmp_path):
    source = CachedVolumes(tmp_path, preprocess(cases[:1], PLAN, tmp_path), [])
    first = source.crop(0, (0, 0, 0), (12, 16, 16))
    first[:] = 99
    assert source.crop(0, (0, 0, 0), (12, 16, 16)).max() < 99


def test_the_case_that_cannot_be_used_is_named(cases, tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"")
    bad = dataclasses.replace(cases[0], name="broken", images=(tmp_path / "broken.nii.gz",))
    with pytest.raises(InputError, match=r"Case broken: .*0 bytes"):
        preprocess([bad, *cases], PLAN, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob(".*"))


def test_all_cases_that_cannot_be_used_are_named_at_once(cases, prepared, tmp_path, monkeypatch):
    one_worker(monkeypatch)
    (tmp_path / "broken.nii.gz").write_bytes(b"")
    first, second, *others = cases
    broken = [
        dataclasses.replace(first, labels=tmp_path / "broken.nii.gz"),
        others[0],
        dataclasses.replace(second, labels=tmp_path / "broken.nii.gz"),
    ]
    with pytest.raises(InputError, match=rf"Case {first.name}: .*0 bytes.*Case {second.name}: .*0 bytes"):
        preprocess(broken, PLAN, tmp_path / "cache")
    assert prepared == [first.name]
    with pytest.raises(InputError, match=r"0 bytes.* 2 more cannot be read"):
        preprocess(broken[:1] * 7, PLAN, tmp_path / "cache")


def test_a_case_that_changes_while_it_is_read_is_refused(cases, tmp_path, monkeypatch):
    shutil.copy(cases[0].images[0], tmp_path / "scan.nii.gz")
    case = dataclasses.replace(cases[0], images=(tmp_path / "scan.nii.gz",))
    read = cached_case.read_channels

    def replaced(*given):
        shutil.copy(cases[1].images[0], tmp_path / "scan.nii.gz")
        return read(*given)

    monkeypatch.setattr(cached_case, "read_channels", replaced)
    with pytest.raises(InputError, match=r"scan\.nii\.gz was changed while it was read"):
        preprocess([case], PLAN, tmp_path / "cache")


def test_subset(cases, tmp_path):
    source = CachedVolumes(tmp_path, preprocess(cases, PLAN, tmp_path), [2])
    part = source.subset([3, 1])
    assert [c.name for c in part.cases] == [cases[3].name, cases[1].name]
    assert part.classes == (2,)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_number_of_volumes(tmp_path):
    shape = (32, 64, 64)
    cases = [CachedCase(str(i), str(i), "", shape, 1, ((0, 32), (0, 64), (0, 64)), None) for i in range(200)]
    image = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float16)
    for case in cases:
        np.save(tmp_path / f"{case.key}.npy", image)
    grown = []
    for count in (20, 200):
        source = CachedVolumes(tmp_path, cases[:count])
        before = resident()
        for index in range(count):
            source.crop(index, (0, 0, 0), shape)
        grown.append(resident() - before)
    # The 200 volumes are 52 MB; kept maps would show as much.
    assert max(grown) < 13e6


@pytest.mark.parametrize(
    ("part", "change"),
    [
        (".json", (b'"one_piece": [', b'"one_piece": [9, ')),
        (".json", (b"{", b"[" * 100_000)),
        (".npy", (b"'shape': (", b"'shape': [")),
        (".npy", (b"'shape': (1", b"'shape': (0")),
    ],
)
def test_a_record_or_an_array_that_was_changed_is_prepared_again(cases, prepared, tmp_path, part, change):
    (cached,) = preprocess(cases[:1], PLAN, tmp_path)
    damaged = tmp_path / f"{cached.key}{part}"
    intact = damaged.read_bytes()
    assert change[0] in intact
    damaged.write_bytes(intact.replace(*change, 1))
    assert preprocess(cases[:1], PLAN, tmp_path) == [cached]
    assert damaged.read_bytes() == intact


def test_a_record_without_a_checksum_of_its_own_is_prepared_again(cases, prepared, tmp_path):
    (cached,) = preprocess(cases[:1], PLAN, tmp_path)
    record = tmp_path / f"{cached.key}.json"
    written = json.loads(record.read_text())
    written["checksums"] = written["checksums"][:-1]
    record.write_text(json.dumps(written))
    assert preprocess(cases[:1], PLAN, tmp_path) == [cached]
    assert len(prepared) == 2


@pytest.mark.parametrize("part", [".npy", ".labels.npy", ".foreground.npy"])
def test_zeros_after_a_power_cut_are_noticed_told_and_prepared_again(cases, prepared, tmp_path, part):
    (cached,) = preprocess(cases[:1], PLAN, tmp_path)
    damaged = tmp_path / f"{cached.key}{part}"
    intact = damaged.read_bytes()
    half = len(intact) // 2
    damaged.write_bytes(intact[:half] + bytes(len(intact) - half))
    seen: list[Event] = []
    assert preprocess(cases[:1], PLAN, tmp_path, emit=seen.append) == [cached]
    assert damaged.read_bytes() == intact
    (told,) = [e.text for e in seen if isinstance(e, Log)]
    assert told == f"The cache held a damaged copy of case {cases[0].name}: it was prepared again."


def test_only_the_caches_own_files_are_removed(cases, tmp_path):
    folder, target = tmp_path / "cache", tmp_path / "elsewhere"
    target.mkdir()
    folder.symlink_to(target, target_is_directory=True)
    preprocess(cases, PLAN, folder)
    (target / f".{'0' * 32}.foregro-abcd1234.npy").touch()
    remove_cache(folder)
    assert (folder.is_symlink(), list(target.iterdir())) == (True, [])
    folder.unlink()
    preprocess(cases, PLAN, folder)
    (folder / "thesis.npy").touch()
    remove_cache(folder)
    assert [p.name for p in folder.iterdir()] == ["thesis.npy"]
    (folder / "thesis.npy").unlink()
    remove_cache(folder)
    assert not folder.exists()


def test_what_a_killed_run_left_half_written_is_removed_and_no_name_is_kept(cases, tmp_path):
    half = tmp_path / f".{'0' * 32}.npy-abcd1234.npy"
    half.touch()
    (cached,) = preprocess(cases[:1], PLAN, tmp_path)
    assert not half.exists()
    assert cached.name == cases[0].name
    assert cases[0].name not in (tmp_path / f"{cached.key}.json").read_text()


def test_records_are_removed_before_their_arrays(cases, tmp_path, monkeypatch):
    """A process killed in between leaves nothing that the next one would take for damaged."""
    preprocess(cases, PLAN, tmp_path / "cache")
    removed, unlink = [], Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path: (removed.append(path.suffix), unlink(path)))
    remove_cache(tmp_path / "cache")
    assert removed == sorted(removed)
    assert set(removed) == {".json", ".npy"}


def test_an_image_with_nothing_to_see_is_told(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.full((8, 8, 8), 7, np.int16)), str(tmp_path / "a.nii.gz"))
    seen: list[Event] = []
    preprocess(find_cases([tmp_path / "a.nii.gz"]), PLAN, tmp_path / "cache", emit=seen.append)
    assert any("Case a: every voxel of its image" in event.text for event in seen if isinstance(event, Log))


def test_values_beyond_half_precision_stay_numbers(tmp_path):
    """An imported network may take intensities as they are."""
    array = np.random.default_rng(0).normal(0, 1e6, (12, 16, 16)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.nii.gz"))
    plan = Plan(3, (Channel("image", "other", Normalization("none")),), (1.0, 1.0, 1.0), (8, 16, 16))
    (cached,) = preprocess(find_cases([tmp_path / "a.nii.gz"]), plan, tmp_path)
    crop = CachedVolumes(tmp_path, [cached]).crop(0, (0, 0, 0), (12, 16, 16))
    assert np.isfinite(crop).all()
    assert crop.max() == np.finfo(np.float16).max

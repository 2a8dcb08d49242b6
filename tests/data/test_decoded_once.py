"""Images are decoded once, and nothing but time depends on it."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from timm.data.transforms import MaybeToTensor
from torchvision import transforms

from harness.data import decoded_source, decoding, image_files, pixels
from harness.data.decoding import Decoding, ahead, worthwhile
from harness.data.pixel_cache import BUSY_SECONDS, STALE_SECONDS, PixelCache
from harness.data.pixel_file import HEAD, Shape
from harness.data.pixels import inexact, pixels_id
from harness.data.sources import open_source
from harness.errors import DataError
from tests.data.conftest import write_image

CPU = torch.device("cpu")
SHAPE = Shape(4, 3, 2, 2)


@pytest.fixture
def cache(tmp_path):
    return PixelCache(tmp_path / "decoded")


@pytest.fixture
def decodes(monkeypatch):
    """Names of all files that are decoded, in their order."""
    found = []
    read = image_files.read_image
    monkeypatch.setattr(
        image_files, "read_image", lambda path, mode: (found.append(os.path.basename(path)), read(path, mode))[1]
    )
    return found


def images_of(root, preprocessing, cache=None, size=4, device=CPU):
    """Images and labels of both sides of a folder."""
    source = open_source(str(root)).decoded_by(Decoding(cache, device))
    batches = list(source.evaluation(None, preprocessing).batches(size))
    evaluated, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return source.calibration(5, 1, preprocessing).images, evaluated, labels


def same(one, other):
    return all(map(torch.equal, one, other))


def written(cache, key, shape=SHAPE):
    """A set of images of its own in the cache."""
    images = torch.randint(0, 255, shape, dtype=torch.uint8)
    writer = cache.begin(key, shape)
    writer.add(images)
    writer.keep()
    return images


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_passes_with_and_without_a_cache_give_the_same_bits(mode, sides, preprocessing_224, cache, decodes):
    root = sides()
    write_image(root / "val" / "n01440764" / "long.png", "long", (10, 3000))  # only its centre is resized
    preprocessing = replace(preprocessing_224, crop_mode=mode)
    reference = images_of(root, preprocessing)
    assert same(images_of(root, preprocessing, cache), reference)
    count = len(decodes)
    assert count == 2 * (7 + 5)
    for size in (1, 3, 64):
        assert same(images_of(root, preprocessing, cache, size), reference)
    assert len(decodes) == count, "nothing is decoded a second time"
    assert len(list(cache.folder.iterdir())) == 2


def test_mean_and_deviation_need_no_other_pixels_and_a_border_is_filled_with_the_mean(preprocessing_224):
    other = replace(preprocessing_224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert pixels_id("x", preprocessing_224) == pixels_id("x", other) != pixels_id("y", other)
    border, other = (replace(one, crop_mode="border") for one in (preprocessing_224, other))
    assert pixels_id("x", border) != pixels_id("x", other)
    for change in ({"crop_pct": 0.8}, {"interpolation": "bilinear"}, {"input_size": (3, 192, 192)}):
        assert pixels_id("x", replace(preprocessing_224, **change)) != pixels_id("x", preprocessing_224)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_value_normalised_later_has_the_bits_of_the_transform(channels, preprocessing_224):
    few = {"input_size": (channels, 224, 224), "mean": (0.485,) * channels, "std": (0.229,) * channels}
    assert inexact(replace(preprocessing_224, **few), CPU) == ""


STEPS = [transforms.Resize(8), transforms.CenterCrop(8), MaybeToTensor(), transforms.Normalize((0.5,), (0.5,))]


@pytest.mark.parametrize(
    "steps",
    [[*STEPS[:2], transforms.ColorJitter(1), *STEPS[2:]], STEPS[:3], [*STEPS[2:], *STEPS[:2]]],
    ids=["another step", "no normalisation", "another order"],
)
def test_another_transform_than_the_usual_one_is_refused(steps, preprocessing_224, monkeypatch):
    monkeypatch.setattr("harness.data.centre_first.create_transform", lambda **_: transforms.Compose(steps))
    assert "whole numbers" in inexact.__wrapped__(preprocessing_224, CPU)


def test_what_is_not_exact_is_refused_with_the_reason(preprocessing_224, monkeypatch, sides, cache, capsys):
    assert "4 channels" in inexact(replace(preprocessing_224, input_size=(4, 224, 224)), CPU)
    assert "some values differ" in inexact(replace(preprocessing_224, std=(0.0, 1.0, 1.0)), CPU)
    monkeypatch.setattr(pixels, "_later", lambda preprocessing, device: torch.zeros(3, 1, 256))
    own, root = replace(preprocessing_224, crop_pct=0.66), sides()
    assert same(images_of(root, own, cache), images_of(root, own))
    assert not cache.folder.exists()
    assert capsys.readouterr().err.count("decoded images are not kept: normalised on cpu") == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_images_normalised_on_a_gpu_have_the_bits_of_the_transform(sides, preprocessing_224, cache):
    root, device = sides(), torch.device("cuda")
    reference = images_of(root, preprocessing_224)
    for kept in (cache, cache, None):
        found = images_of(root, preprocessing_224, kept, 2, device)
        assert found[1].device.type == "cuda"
        assert same([one.cpu() for one in found], reference)


def test_an_edited_image_is_decoded_again(sides, preprocessing_224, cache):
    root = sides()
    before = images_of(root, preprocessing_224, cache)
    write_image(root / "val" / "n01440764" / "val_1.png", "another picture")
    os.utime(root / "val" / "n01440764" / "val_1.png", (1, 1))
    after = images_of(root, preprocessing_224, cache)
    assert same(after, images_of(root, preprocessing_224))
    assert not torch.equal(after[1], before[1])


def test_an_image_that_changes_while_others_are_decoded_is_not_kept(sides, preprocessing_224, cache, capsys):
    root = sides()
    source = open_source(str(root)).decoded_by(Decoding(cache))
    for number, _ in enumerate(source.evaluation(None, preprocessing_224).batches(1)):
        if number == 2:
            write_image(root / "val" / "n01443537" / "val_2.png", "another picture")
            os.utime(root / "val" / "n01443537" / "val_2.png", (1, 1))
    assert "changed since they were hashed" in capsys.readouterr().err
    assert not list(cache.folder.iterdir())


def test_a_pass_that_ends_early_keeps_nothing(sides, preprocessing_224, cache):
    source = open_source(str(sides())).decoded_by(Decoding(cache))
    batches = source.evaluation(None, preprocessing_224).batches(2)
    next(batches)
    batches.close()
    assert not list(cache.folder.iterdir())


@pytest.mark.parametrize("at", [0, HEAD + 4 * 3 * 224 * 224 + 7, -3], ids=["head", "pixels of the fifth image", "checksums"])
def test_a_byte_that_changed_on_disk_is_found_and_the_rest_is_decoded(at, sides, preprocessing_224, cache, decodes, capsys):
    root = sides()
    reference = images_of(root, preprocessing_224, cache)
    file = max(cache.folder.iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    decodes.clear()
    assert same(images_of(root, preprocessing_224, cache, 2), reference)
    assert "is not used" in capsys.readouterr().err
    assert 0 < len(decodes) <= 6
    images_of(root, preprocessing_224, cache)
    decodes.clear()
    assert same(images_of(root, preprocessing_224, cache), reference)
    assert not decodes, "what was broken has been decoded and kept anew"


def test_a_file_that_is_cut_short_or_of_other_images_is_not_used(cache):
    images = written(cache, "a")
    assert torch.equal(cache.open("a", SHAPE).read(1, 3), images[1:3])
    os.replace(cache.file("a"), cache.file("b"))
    assert cache.open("b", SHAPE) is None
    assert not cache.file("b").exists(), "what is broken goes"
    written(cache, "a")
    os.truncate(cache.file("a"), 100)
    assert cache.open("a", SHAPE) is None


def test_a_folder_that_may_only_be_read_is_used(cache, monkeypatch):
    images = written(cache, "a")

    def refused(*_):
        raise PermissionError("somebody else's")

    monkeypatch.setattr(os, "utime", refused)
    assert torch.equal(cache.open("a", SHAPE).read(0, 4), images)


def test_the_least_recently_used_images_go_first(tmp_path):
    cache = PixelCache(tmp_path / "decoded", 3 * SHAPE.nbytes)
    for number, key in enumerate("abc"):
        written(cache, key)
        os.utime(cache.file(key), (number, number))
    assert cache.open("a", SHAPE) is not None
    written(cache, "d")
    assert [key for key in "abcd" if cache.has(key, SHAPE)] == ["a", "c", "d"]
    assert cache.used() == cache.limit
    assert PixelCache(cache.folder, SHAPE.nbytes - 1).begin("e", SHAPE) is None
    assert cache.used() == cache.limit, "what does not fit takes nobody's place"


def test_what_killed_writers_left_goes_and_other_files_stay(cache):
    written(cache, "a")
    for name, age in [("b.1.aside", STALE_SECONDS + 1), ("c.1.aside", 0.0), ("mine.txt", STALE_SECONDS + 1)]:
        (cache.folder / name).write_bytes(b"x")
        os.utime(cache.folder / name, (time.time() - age,) * 2)
    written(cache, "d")
    assert sorted(path.name for path in cache.folder.iterdir()) == ["a.pixels", "c.1.aside", "d.pixels", "mine.txt"]


def test_what_another_process_is_writing_is_not_written_a_second_time(cache):
    first = cache.begin("a", SHAPE)
    assert cache.begin("a", SHAPE) is None
    assert cache.begin("b", SHAPE) is not None
    age = time.time() - BUSY_SECONDS - 1
    for path in cache.folder.iterdir():
        os.utime(path, (age, age))
    assert cache.begin("a", SHAPE) is not None, "the first writer was killed"
    first.discard()


def test_sets_that_are_being_written_count_and_delete_no_others_in_vain(tmp_path):
    cache = PixelCache(tmp_path / "decoded", 2 * SHAPE.nbytes)
    written(cache, "a")
    writer = cache.begin("b", SHAPE)
    writer.add(torch.zeros(SHAPE, dtype=torch.uint8))
    large = Shape(2 * SHAPE.images, *SHAPE[1:])
    assert cache.begin("c", large) is None
    assert cache.has("a", SHAPE)
    writer.keep()
    assert cache.has("a", SHAPE)
    assert cache.has("b", SHAPE)


def test_several_writers_of_one_set(sides, preprocessing_224, cache):
    root = sides()
    reference = images_of(root, preprocessing_224)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: images_of(root, preprocessing_224, cache, 2), range(4)):
            assert same(found, reference)
    assert sorted(path.suffix for path in cache.folder.iterdir()) == [".pixels", ".pixels"]
    assert same(images_of(root, preprocessing_224, cache), reference)


@pytest.mark.parametrize("place", ["file", "full"])
def test_without_a_place_for_it_images_are_decoded_every_time(
    place, sides, preprocessing_224, tmp_path, monkeypatch, capsys
):
    cache = PixelCache(tmp_path / "decoded")
    if place == "file":
        cache.folder.write_text("no folder")
    else:
        cache.folder.mkdir()
        monkeypatch.setattr("harness.data.pixel_cache.PixelWriter._write", _full)
    root = sides()
    assert same(images_of(root, preprocessing_224, cache), images_of(root, preprocessing_224))
    assert "decoded images are not kept" in capsys.readouterr().err
    assert place == "file" or not list(cache.folder.iterdir())


def _full(self, content):
    raise OSError(28, "No space left on device")


def test_an_unreadable_image_is_named_and_nothing_is_kept(sides, preprocessing_224, cache):
    root = sides()
    (root / "val" / "n01440764" / "val_1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"val_1\.png"):
        images_of(root, preprocessing_224, cache)
    assert not list(cache.folder.iterdir())


def test_worker_processes_give_the_same_images(sides, preprocessing_224, cache, monkeypatch):
    root = sides()
    state = torch.get_rng_state()
    reference = images_of(root, preprocessing_224)
    monkeypatch.setattr(decoding, "worthwhile", lambda images, seconds: 2)
    monkeypatch.setattr(decoded_source, "CALIBRATION_BATCH", 2)
    assert same(images_of(root, preprocessing_224, None, 2), reference)
    assert same(images_of(root, preprocessing_224, cache, 2), reference)
    assert same(images_of(root, preprocessing_224, cache, 2), reference)
    assert decoding.seconds_to_start(1) > 0
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn that a method could have drawn"


def test_worker_processes_where_they_save_more_than_they_cost(monkeypatch):
    monkeypatch.setattr(decoding, "most_workers", lambda: 4)
    assert worthwhile(100, 0.01, lambda workers: 0.7) == 4
    assert worthwhile(100, 0.01, lambda workers: 0.8) == 0
    assert worthwhile(3, 1.0, lambda workers: 0.5) == 3
    assert worthwhile(1, 100.0, lambda workers: 0.0) == 0
    monkeypatch.setattr(decoding, "most_workers", lambda: 1)
    assert worthwhile(10**6, 1.0, lambda workers: 0.0) == 0


def test_no_worker_processes_without_shared_memory_for_their_batches(sides, preprocessing_224, monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(decoding, "worthwhile", lambda images, seconds: 2)
    monkeypatch.setattr(decoding, "DataLoader", lambda images, num_workers, **_: started.append(num_workers) or [])
    monkeypatch.setattr(decoding, "SHARED", str(tmp_path))
    images_of(sides(), preprocessing_224)
    monkeypatch.setattr(os, "statvfs", lambda place: SimpleNamespace(f_bavail=16, f_frsize=4096))
    images_of(tmp_path / "data", preprocessing_224)
    assert started == [2, 0], "one evaluation side each; five calibration images are one batch"


def test_processes_that_share_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)), raising=False)
    monkeypatch.delenv(decoding.WORKERS_VARIABLE, raising=False)
    assert decoding.most_workers() == decoding.MOST_WORKERS
    monkeypatch.setenv(decoding.WORKERS_VARIABLE, "3")
    assert decoding.most_workers() == 4


def test_items_made_ahead_are_the_same_and_so_is_their_error():
    assert list(ahead(iter([3, 0, 2]))) == [3, 0, 2]
    coming = ahead(6 // divisor for divisor in (2, 0))
    assert next(coming) == 3
    with pytest.raises(ZeroDivisionError):
        next(coming)
    unfinished = ahead(iter([1, 2, 3]))
    assert next(unfinished) == 1
    unfinished.close()


def test_no_worker_processes_where_their_sockets_have_no_room(monkeypatch):
    """Below a long folder for temporary files a worker's images would never arrive."""
    monkeypatch.setattr("tempfile.tempdir", "/" + "t" * 90)
    assert worthwhile(10**6, 1.0, lambda workers: pytest.fail("no process may start")) == 0

"""Batches: order, shards, random streams; held-out rows, wrong labels, prefetching."""

import threading
import time

from gluon_attention import UserError
from gluon_attention.datasets.sampling import (
    Batches,
    Normalise,
    Samples,
    array_samples,
    hold_out,
    mislabel,
    prefetch,
)

import numpy as np
import pytest
from builders import toy_splits


def numbered(count, batch_size, classes=10, **options):
    """Image n is the number n above a row of noise, and its label is n % classes."""
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)

    def noisy(pixels, rng):
        noise = rng.random(pixels.shape, dtype=np.float32)
        return np.concatenate([pixels.astype(np.float32), noise], axis=2)

    labels = np.arange(count) % classes
    samples = array_samples(images, labels, classes, transform=noisy)
    return Batches(samples, batch_size, **options)


def numbers_of(batches, epoch):
    """Numbers of an epoch's images, after a check of their labels."""
    numbers = []
    for images, labels in batches.epoch(epoch):
        assert images.dtype == np.float32 and labels.dtype == np.int32
        rows = images[:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(rows % 10, labels)
        numbers.extend(rows)
    return numbers


def eventually(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def prefetching():
    return [t for t in threading.enumerate() if t.name == "prefetch"]


def test_training_batches_are_shuffled_without_a_short_one():
    batches = numbered(50, 8, shuffle=True)
    first, second = numbers_of(batches, 0), numbers_of(batches, 1)
    assert len(batches) == 6 and batches.shard_size == 50
    assert len(first) == len(set(first)) == 48
    assert len(numbered(8, 8, shuffle=True)) == 1
    assert first != second and first != sorted(first)


def test_evaluation_batches_keep_the_order_and_the_short_one():
    batches = numbered(50, 8)
    assert len(batches) == 7
    assert numbers_of(batches, 0) == numbers_of(batches, 3) == list(range(50))
    assert numbers_of(numbered(5, 8), 0) == list(range(5))
    assert numbers_of(numbered(5, 8, part=(1, 2)), 0) == list(range(5))  # every worker has all
    noise = [next(batches.epoch(index))[0] for index in (0, 3)]
    np.testing.assert_array_equal(*noise)


def test_an_epoch_is_a_function_of_seed_and_index():
    same, other = numbered(50, 8, shuffle=True, seed=3), numbered(50, 8, shuffle=True, seed=4)
    for index in (0, 7):
        one, two = list(same.epoch(index)), list(numbered(50, 8, shuffle=True, seed=3).epoch(index))
        for (images, labels), (again, relabelled) in zip(one, two):
            np.testing.assert_array_equal(images, again)
            np.testing.assert_array_equal(labels, relabelled)
    assert numbers_of(same, 0) != numbers_of(other, 0)
    noise = [next(b.epoch(index))[0][:, :, 1] for b in (same, other) for index in (0, 1)]
    assert len({n.tobytes() for n in noise}) == 4
    stream = np.random.default_rng([3, 0, 1])  # a later version goes on with these numbers
    np.testing.assert_array_equal(noise[0], stream.random(noise[0][:, None].shape, "f4")[:, 0])


def test_random_numbers_differ_between_batches_and_shards():
    parts = [numbered(64, 8, shuffle=True, part=(rank, 2)) for rank in (0, 1)]
    noise = [images[:, :, 1] for part in parts for images, _ in part.epoch(0)]
    assert len({n.tobytes() for n in noise}) == len(noise) == 8


@pytest.mark.parametrize("workers", [2, 3])
def test_shards_are_disjoint_and_equal_and_cover_all_rows(workers):
    parts = [numbered(60, 5, shuffle=True, part=(rank, workers)) for rank in range(workers)]
    rows = [numbers_of(part, 2) for part in parts]
    assert {len(r) for r in rows} == {60 // workers}
    assert sorted(sum(rows, [])) == list(range(60))
    uneven = [numbered(61, 5, shuffle=True, part=(rank, workers)) for rank in range(workers)]
    assert len({len(part) for part in uneven}) == 1


def test_normalise_is_exact():
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, axis=1)
    expected = (pixels / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    out = Normalise(mean, std)(pixels)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, atol=2e-6)
    assert (Normalise([0.0], [1.0])(np.zeros((1, 1, 2, 2), np.uint8)) == 0).all()


def test_hold_out_is_stratified_disjoint_and_seeded():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    train, held_out = hold_out(labels, 32, seed=1)
    assert not set(train) & set(held_out)
    assert sorted([*train, *held_out]) == list(range(160))
    np.testing.assert_array_equal(np.bincount(labels[held_out]), [20, 10, 2])
    np.testing.assert_array_equal(held_out, hold_out(labels, 32, seed=1)[1])
    assert set(held_out) != set(hold_out(labels, 32, seed=2)[1])
    assert len(hold_out(labels, 0, seed=1)[1]) == 0
    assert list(train) == sorted(train) and list(held_out) == sorted(held_out)
    rare = np.array([0] + [1] * 99)
    assert (rare[hold_out(rare, 2, seed=1)[1]] == 1).all()


@pytest.mark.parametrize("count, held_out", [(3, 1), (0, 0)])
def test_at_most_a_tenth_is_held_out_and_one_row_of_a_few(count, held_out):
    assert len(hold_out(np.arange(5), count, seed=0, tenth=True)[1]) == held_out
    assert len(hold_out(np.arange(100) % 4, 12 * count, seed=0, tenth=True)[1]) == 10 * held_out


def test_images_that_depend_on_the_epoch_are_for_training_alone():
    def load_epoch(epoch, rows, rng):
        return np.full((len(rows), 1, 1, 1), epoch, np.float32)

    def load(rows, rng):
        return load_epoch(-1, rows, rng)

    samples = Samples(np.zeros(6), 1, load, load_epoch=load_epoch)
    for shuffle, expected in ((True, 5), (False, -1)):
        for images, _ in Batches(samples, 2, shuffle=shuffle).epoch(5):
            assert (images == expected).all()


def test_examples_are_held_out_unless_nothing_is():
    splits = toy_splits()
    assert splits.examples is splits.validation
    splits = splits._replace(validation=Samples(np.zeros(0), 3, None))
    assert splits.examples is splits.train


def test_an_epoch_is_loaded_ahead():
    batches = numbered(50, 8).epoch(0)
    next(batches)
    assert prefetching()
    batches.close()
    assert eventually(lambda: not prefetching())


def test_the_identity_of_an_image_is_its_content_or_its_pixels():
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    pixels = array_samples(images, [0, 0, 0], 1, transform=lambda x, rng: x.astype("f4"))
    assert pixels.identity(2) == np.float32(2).tobytes()
    named = Samples(pixels.labels, 1, None, content=lambda row: b"%d" % row)
    assert named.identity(2) == b"2"
    assert len(pixels.first(2)) == 2 and len(pixels.first(9)) == 3


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: numbered(5, 8, shuffle=True), "5 training images do not fill one batch of 8"),
        (lambda: numbered(16, 8, shuffle=True, part=(0, 3)), "for each of 3 workers"),
        (lambda: numbered(16, 0), "batch size"),
        (lambda: hold_out(np.zeros(5), 5, 0), "validation"),
    ],
)
def test_arguments_out_of_range_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize("bad", [-1, 10])
def test_labels_out_of_range_are_refused(bad):
    images = np.zeros((3, 1, 2, 2), np.uint8)
    with pytest.raises(UserError, match=f"label {bad} of image 1 .* 0 to 9"):
        array_samples(images, [0, bad, 1], 10, transform=lambda x, rng: x)
    with pytest.raises(UserError, match="3 images"):
        array_samples(images, [0, 1], 10, transform=lambda x, rng: x)


def test_prefetch_yields_all_items_and_stays_ahead_by_its_depth():
    produced = []

    def items():
        for number in range(10):
            produced.append(number)
            yield number

    ahead = prefetch(items(), depth=2)
    assert next(ahead) == 0
    assert eventually(lambda: len(produced) == 4)  # 0, two in the queue, one waiting
    time.sleep(0.05)
    assert len(produced) == 4
    assert list(ahead) == list(range(1, 10))
    assert eventually(lambda: not prefetching())


def test_prefetch_raises_exceptions_of_its_thread():
    def items():
        yield 1
        raise KeyError("lost")

    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="lost"):
        next(ahead)
    assert eventually(lambda: not prefetching())


@pytest.mark.parametrize("end", ["close", "forget", "never start"])
def test_the_thread_of_prefetch_ends_with_its_consumer(end):
    closed = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    ahead = prefetch(endless())
    if end != "never start":
        next(ahead)
    if end == "close":
        ahead.close()
    del ahead
    assert eventually(lambda: not prefetching())
    assert closed or end == "never start"


def test_hold_out_is_fast_with_many_classes():
    start = time.process_time()
    train, held_out = hold_out(np.arange(200_000) % 20_000, 20_000, 0)
    assert len(train) == 180_000 and len(set(held_out % 20_000)) == 20_000
    assert time.process_time() - start < 3


def test_wrong_labels_are_uniform_over_the_other_classes():
    truth = np.repeat(np.arange(5), 2000)
    images = np.zeros((len(truth), 1, 1, 1), "uint8")

    def noisy(share, seed=0):
        samples = array_samples(images, truth, 5, transform=Normalise((0.5,), (0.5,)))
        noisy_samples = mislabel(samples, share, seed)
        assert noisy_samples.labels.dtype == samples.labels.dtype
        np.testing.assert_array_equal(samples.labels, truth)
        return noisy_samples.labels

    np.testing.assert_array_equal(noisy(0.0), truth)
    assert (noisy(1.0) != truth).all()
    counts = np.histogram2d(truth, noisy(0.4), bins=5)[0] / 2000
    np.testing.assert_allclose(counts, np.eye(5) * 0.5 + 0.1, atol=0.03)
    np.testing.assert_array_equal(noisy(0.4), noisy(0.4))
    assert (noisy(0.4) != noisy(0.4, seed=1)).any()

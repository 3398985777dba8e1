"""The cache of prepared images makes each image once and keeps count of its bytes, under many threads."""

import faulthandler
import os
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from vision_nb.images.cache import PREPARED_IMAGES, ImageCache
from vision_nb.images.decode_limit import DECODE_LIMIT
from vision_nb.images.prepare import Prepared


def prepared(size):
    return Prepared(bytes(size), "image/png", (1, 1), original_size=(1, 1))


def kept_bytes(cache):
    return sum(len(entry.image.data) for entry in cache._entries.values())


def test_each_image_is_made_once_and_its_bytes_are_counted_once():
    cache, made, lock = ImageCache(), Counter(), threading.Lock()

    def get(number):
        key = number % 20

        def make():
            with lock:
                made[key] += 1
            time.sleep(0.002)
            return prepared(100)

        return cache.get(key, make)

    with ThreadPoolExecutor(16) as pool:
        images = list(pool.map(get, range(2000)))
    assert set(made.values()) == {1} and len(made) == 20
    assert len({id(image) for image in images}) == 20
    assert cache._bytes == kept_bytes(cache) == 2000


@pytest.mark.slow
def test_the_count_of_bytes_stays_right_while_threads_evict_each_others_images():
    cache = ImageCache(max_bytes=1000)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: cache.get(number % 37, lambda: prepared(100 + number % 37)), range(20_000)))
    assert cache._bytes == kept_bytes(cache) <= 1000
    assert cache.get("large", lambda: prepared(5000)) is cache.get("large", lambda: pytest.fail("it was not kept"))
    assert cache._bytes == kept_bytes(cache) == 5000


def test_the_least_recently_used_image_is_dropped_first():
    cache = ImageCache(max_bytes=300)
    first = cache.get(1, lambda: prepared(100))
    cache.get(2, lambda: prepared(100))
    assert cache.get(1, lambda: pytest.fail("it was not kept")) is first
    cache.get(3, lambda: prepared(150))
    assert set(cache._entries) == {1, 3}


def test_an_image_that_could_not_be_made_is_tried_again():
    cache = ImageCache()

    def fail():
        time.sleep(0.01)
        raise ValueError

    def get(number):
        try:
            return cache.get("key", fail if number % 2 else lambda: prepared(100))
        except ValueError:
            return None

    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(get, range(200)))
    assert any(images) and cache.get("key", fail)
    assert cache._bytes == kept_bytes(cache) == 100
    with pytest.raises(ValueError):
        cache.get("other", fail)
    assert set(cache._entries) == {"key"}


@pytest.mark.posix
def test_a_forked_process_does_not_wait_for_an_image_that_its_parent_is_decoding():
    has_begun, may_end = threading.Event(), threading.Event()

    def decode():
        with DECODE_LIMIT.reserved(1 << 40):
            has_begun.set()
            may_end.wait(60)
        return prepared(1)

    thread = threading.Thread(target=PREPARED_IMAGES.get, args=("decoded", decode))
    thread.start()
    has_begun.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: the process has several threads
        child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(60, exit=True)
        may_end.set()
        os._exit(0 if PREPARED_IMAGES.get("decoded", decode).size == (1, 1) else 1)
    status = os.waitpid(child, 0)[1]
    may_end.set()
    thread.join(60)
    assert os.waitstatus_to_exitcode(status) == 0

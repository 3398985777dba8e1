"""Imports of large packages and runs of many calls search for garbage less often, and leave the settings as they were."""

import gc
import subprocess
import sys

import pytest
from pydantic import BaseModel, field_validator

import vision_nb as vn
from vision_nb.notebook.garbage_collection import THRESHOLD, fewer_garbage_collections, without_garbage_collection

FIRST_CALL = """
import gc, sys
import vision_nb as vn
llm = vn.connect("openai:gpt-4o", api_key="k", api_base="http://127.0.0.1:9/v1", max_retries=0)
assert "openai" not in sys.modules
before = gc.get_stats()[1]["collections"]
try:
    llm.complete("What?")
except vn.errors.ProviderConnectionError:
    pass
assert "openai" in sys.modules and gc.isenabled()
print(gc.get_stats()[1]["collections"] - before)
"""


@pytest.mark.slow
def test_the_first_call_imports_the_openai_package_without_searching_for_garbage():
    run = subprocess.run([sys.executable, "-c", FIRST_CALL], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 8, "about 16 searches of the older objects without the pause"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_setting_of_the_user_stays(enabled):
    try:
        if not enabled:
            gc.disable()
        with pytest.raises(ImportError), without_garbage_collection():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() is enabled
    finally:
        gc.enable()


def test_the_objects_of_an_import_are_not_searched_after_it():
    with without_garbage_collection():
        imported = [[] for _ in range(5_000)]
    assert len(gc.get_objects(generation=0)) < len(imported)


def test_objects_that_the_user_froze_stay_frozen():
    gc.freeze()
    try:
        before = gc.get_freeze_count()
        with without_garbage_collection():
            pass
        assert gc.get_freeze_count() > before / 2 > 0, "other threads may have deleted some of them"
    finally:
        gc.unfreeze()


def test_a_run_searches_for_garbage_less_often_and_then_as_before(server, photo):
    seen, before = [], gc.get_threshold()

    class Shade(BaseModel):
        brightness: str

        @field_validator("brightness")
        @classmethod
        def note(cls, value):
            seen.append(gc.get_threshold())
            return value

    with vn.OpenAIMultiModal("gpt-4o", "k", f"{server.url}/v1") as llm:
        assert not vn.extract([photo], Shade, model=llm, progress=False).failed
    assert seen and set(seen) == {(THRESHOLD, *before[1:])} and gc.get_threshold() == before


def test_two_runs_at_once_leave_the_threshold_as_it_was():
    before = gc.get_threshold()
    first, second = fewer_garbage_collections(), fewer_garbage_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before


@pytest.mark.parametrize("threshold", [0, 50_000])
def test_a_threshold_of_the_user_above_ours_stays(threshold):
    before = gc.get_threshold()
    gc.set_threshold(threshold)
    try:
        with fewer_garbage_collections():
            assert gc.get_threshold()[0] == threshold
        assert gc.get_threshold()[0] == threshold
    finally:
        gc.set_threshold(*before)

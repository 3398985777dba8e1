"""Imports of large packages pause the search for garbage, and leave it as it was."""

import gc

import pytest

from vision_nb.notebook.imports import without_garbage_collection


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

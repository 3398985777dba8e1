"""Imports of large packages pause the search for garbage, and leave it as it was."""

import gc
import subprocess
import sys

import pytest

from vision_nb.notebook.imports import without_garbage_collection

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

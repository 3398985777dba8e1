"""Pin every package that Binder installs. Run it when the dependencies in pyproject.toml change.

Run: python -m tests.pin_binder
"""

import sys
import tempfile
from pathlib import Path

from tests.environments import ROOT, install, new_environment, run

REQUIREMENTS = ROOT / "binder" / "requirements.txt"
NOT_PINNED = ("vision-nb", "vision_nb", "pip", "setuptools", "wheel")
HEAD = """# Every package that the notebooks need, pinned; JupyterLab comes with Binder's image.
# Written by: python -m tests.pin_binder
"""


def main():
    with tempfile.TemporaryDirectory() as work:
        python = new_environment(Path(work) / "venv", sys.executable)
        install(python, f"{ROOT}[local]", "pandas")
        frozen = run(python, "-m", "pip", "freeze").splitlines()
    pins = [line for line in frozen if line.partition("==")[0].partition(" ")[0] not in NOT_PINNED]
    REQUIREMENTS.write_text(HEAD + "\n".join(pins) + "\n", encoding="utf-8")
    print(f"{len(pins)} packages, from Python {sys.version_info.major}.{sys.version_info.minor}")


if __name__ == "__main__":
    main()

"""Time `import vision_nb` and `%load_ext vision_nb` in a running IPython.

Run: python -m tests.benchmarks.import_time
"""

import statistics
import subprocess
import sys

SCRIPT = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
import time
started = time.perf_counter()
import vision_nb
shell.run_line_magic("load_ext", "vision_nb")
print((time.perf_counter() - started) * 1000)
"""
LIMIT = 60.0


def main():
    times = [
        float(subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout)
        for _ in range(9)
    ]
    median = statistics.median(times)
    print(f"import vision_nb and %load_ext: {median:.1f} ms (best {min(times):.1f}, worst {max(times):.1f})")
    print(f"ratio to the limit of {LIMIT:.0f} ms: {median / LIMIT:.2f}")


if __name__ == "__main__":
    main()

"""How long a fresh process takes to the first answer about a photograph, against a script that uses openai and Pillow.

Limit: 1.06 times the script, in CPU time, which other programs on the machine hardly change.

Run: python -m tests.benchmarks.first_answer
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.prepare_speed import photograph
from vision_nb.demo import DemoServer

ROUNDS = 9

OURS = """
import sys
import vision_nb as vn
llm = vn.connect("openai:gpt-4o", api_base=sys.argv[1], api_key="k")
print(llm.complete("What is this?", sys.argv[2]).text)
"""

BY_HAND = """
import base64, io, sys
from openai import OpenAI
from PIL import Image
image = Image.open(sys.argv[2])
image.draft("RGB", (1152, 768))
buffer = io.BytesIO()
image.resize((1152, 768), Image.Resampling.HAMMING, reducing_gap=2.0).save(buffer, "JPEG", quality=90)
url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
client = OpenAI(base_url=sys.argv[1], api_key="k")
answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": content}])
print(answer.choices[0].message.content)
"""


def cpu_seconds(script, *arguments):
    """Return the CPU time of a new process that runs a script."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # compiled once, as on a user's machine
    before = os.times()
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True, env=environment)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main():
    with tempfile.TemporaryDirectory() as folder, DemoServer(tokens_per_second=5000) as server:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(photograph())
        arguments = (server.openai_base, str(path))
        times = [(cpu_seconds(OURS, *arguments), cpu_seconds(BY_HAND, *arguments)) for _ in range(ROUNDS + 1)][1:]
    mine, peer = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"first answer: {mine * 1000:.0f} ms of CPU time, by hand {peer * 1000:.0f} ms")
    print(f"ratio {mine / peer:.2f} (limit: 1.06)")


if __name__ == "__main__":
    main()

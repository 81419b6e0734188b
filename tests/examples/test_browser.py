"""examples/browser: the page in headless Chromium, from static files and offline, compared with `Predictor`."""

import base64
import functools
import http.server
import json
import queue
import subprocess
import threading

import cv2
import numpy as np
import pytest
from helpers.example_program import WITHIN_S, check_lines, program, with_packages

pytestmark = pytest.mark.slow

# Loads the page in a frame, waits for its prediction and posts what it shows.
WATCHER = """<!doctype html><iframe id="frame"></iframe><script>
const frame = document.getElementById("frame");
frame.src = "index.html" + location.search;
const timer = setInterval(() => {
  const page = frame.contentDocument;
  const state = page?.body?.dataset.state;
  if (state !== "done" && state !== "failed") return;
  clearInterval(timer);
  const shown = { state, result: page.getElementById("result").textContent, mask: page.getElementById("mask").href };
  fetch("/shown", { method: "POST", body: JSON.stringify(shown) });
}, 50);
</script>"""


class Files(http.server.SimpleHTTPRequestHandler):
    """Static files, and the queue of what the page shows."""

    def __init__(self, *words, shown, **options):
        self.shown = shown
        super().__init__(*words, **options)

    def do_POST(self):
        self.shown.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *words):
        """Print nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(folder, address, queue) of the example on a static server."""
    folder = with_packages("browser", tmp_path_factory.mktemp("site"))
    (folder / "watcher.html").write_text(WATCHER)
    shown = queue.Queue()
    handler = functools.partial(Files, shown=shown, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}", shown
        server.shutdown()


@pytest.fixture
def page(site, tmp_path):
    """(model, image) -> what the page shows for two files."""
    folder, address, shown = site

    def load(model, image):
        for name, path in (("model.onnx", model), ("image.png", image)):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(path)
        words = [
            *(program("chromium"), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-dev-shm-usage", f"--user-data-dir={tmp_path}"),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"{address}/watcher.html?model=model.onnx&image=image.png",
        ]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                return shown.get(timeout=WITHIN_S)
            finally:
                browser.terminate()

    return load


@pytest.mark.parametrize(
    "name",
    [
        *("photos", "photos-fp16", "photos-int8", "photos-opset17", "photos-opset26", "photos-crop"),
        *("street", "street-fp16", "street-int8"),
    ],
)
def test_the_page_predicts_the_same(page, form, image_file, result, name):
    shown = page(form(name), image_file(name, ".png"))
    assert shown["state"] == "done", shown["result"]
    expected = result(name)
    if name.startswith("photos"):
        check_lines(shown["result"], expected)
        return
    encoded = np.frombuffer(base64.b64decode(shown["mask"].partition(",")[2]), np.uint8)
    mask = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    assert mask.shape == expected.mask.shape
    assert (mask != expected.mask).sum() == 0


def test_a_model_that_the_page_cannot_run_is_one_sentence(page, form, image_file):
    shown = page(form("photos-plain"), image_file("photos", ".png"))
    assert shown["state"] == "failed"
    assert shown["result"] == "model must be exported with --pixels-in --labels-out. Export it again."

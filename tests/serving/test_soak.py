"""Eight clients at once for a while: every prediction equals the local one, and memory stays flat."""

import os
import sys
import threading
import time

import pytest
from helpers.http_server import form, http_server

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("HRNET_DEPLOY_SOAK_S", "20"))
CLIENTS = 8


def plain(record):
    return {key: value for key, value in record.items() if key not in {"name", "speed", "topk"}}


def test_eight_clients_get_the_local_predictions_and_memory_stays_flat(photos_onnx, photos, jpegs, tmp_path, capsys):
    want = [plain(photos.predict(content).to_dict()) for content in jpegs]
    wrong, counts = [], [0] * CLIENTS
    with http_server(tmp_path, f"photos={photos_onnx}", "--streams", 1) as server:
        end = time.monotonic() + SECONDS

        def client(number):
            while time.monotonic() < end:
                index = (number + counts[number]) % len(jpegs)
                if counts[number] % 5:
                    found, expected = [server.post("/predict", jpegs[index])[1]], [want[index]]
                else:
                    files = [("images", "x.jpg", content) for content in jpegs]
                    found, expected = server.post("/predict", *form(*files))[1], want
                if [plain(one) for one in found] != expected:
                    wrong.append(found)
                counts[number] += 1

        clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
        for thread in clients:
            thread.start()
        time.sleep(SECONDS / 4)  # every batch size has been met
        warm = server.rss_bytes
        for thread in clients:
            thread.join()
        last = server.rss_bytes
        text = server.request("GET", "/metrics")[2].decode()
        assert server.stop() == 0
    batches = [int(line.split()[1]) for line in text.splitlines() if line.startswith("hrnet_batch_images_bucket{")]
    with capsys.disabled():
        sys.stdout.write(f"\n{sum(counts)} requests, batches {batches}, RSS {warm >> 20} to {last >> 20} MiB\n")
    assert not wrong, wrong[0]
    assert min(counts) > 0
    assert batches[-1] > batches[0], "no batch of several images"
    assert last < 1.05 * warm, (warm, last)
    assert "Traceback" not in server.log

import pytest

from hrnet_deploy.engines.tensorrt.runtime_cache import RuntimeCache, cache_path


class Cache:
    """IRuntimeCache, as far as it is used."""

    def __init__(self, content=b"", accepts=True):
        self.content, self.accepts = content, accepts

    def serialize(self):
        return self.content

    def deserialize(self, content):
        if self.accepts:
            self.content = bytes(content)
        return self.accepts


def test_what_was_compiled_is_there_for_the_next_process(tmp_path):
    path = tmp_path / "deep" / "kernels.bin"
    cache = RuntimeCache(Cache(b"kernels"), path)
    cache.save()
    assert RuntimeCache(Cache(), path).cache.content == b"kernels"


def test_only_a_cache_that_grew_is_written(tmp_path):
    path = tmp_path / "kernels.bin"
    RuntimeCache(Cache(b"kernels"), path).save()
    path_before = path.stat().st_mtime_ns
    again = RuntimeCache(Cache(), path)
    again.save()
    assert path.stat().st_mtime_ns == path_before
    again.cache.content = b"more kernels"
    again.save()
    assert path.read_bytes() == b"more kernels"


@pytest.mark.parametrize("nothing", [b"", None])
def test_an_empty_cache_leaves_no_file(tmp_path, nothing):
    RuntimeCache(Cache(nothing), tmp_path / "kernels.bin").save()
    assert not list(tmp_path.iterdir())


def test_a_cache_of_another_gpu_is_replaced(tmp_path):
    path = tmp_path / "kernels.bin"
    path.write_bytes(b"of another GPU")
    cache = RuntimeCache(Cache(b"", accepts=False), path)
    cache.cache.content = b"ours"
    cache.save()
    assert path.read_bytes() == b"ours"


def test_a_place_that_cannot_be_written_is_tried_once_per_content(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    caplog.set_level("INFO")
    cache = RuntimeCache(Cache(b"kernels"), tmp_path / "file" / "kernels.bin")
    cache.save()
    cache.save()
    assert len([record for record in caplog.records if "are not kept" in record.message]) == 1


def test_each_engine_and_gpu_has_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path))
    assert cache_path("ab" * 32, "sm86") == tmp_path / "runtime" / f"{'ab' * 16}-sm86.bin"

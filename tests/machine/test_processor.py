"""What the processor says of itself, read from files as Linux writes them."""

from pathlib import Path

from nearlight.machine import processor


def test_processor_name_is_read_where_it_is_told(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast One 9000\nflags\t: a b\n")
    assert processor.processor_name(cpuinfo) == "Fast One 9000"
    assert processor.processor_name(tmp_path / "missing")


def test_last_caches_are_added_up_and_shared_ones_counted_once(tmp_path: Path) -> None:
    def cache(cpu: int, index: int, level: int, size: str, shared: str) -> None:
        directory = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
        directory.mkdir(parents=True)
        for name, text in (("level", str(level)), ("size", size), ("shared_cpu_list", shared)):
            (directory / name).write_text(text + "\n")

    for cpu, pair in ((0, "0-1"), (1, "0-1"), (2, "2-3"), (3, "2-3")):
        cache(cpu, 0, 1, "32K", str(cpu))
        cache(cpu, 3, 3, "16M", pair)
    cache(4, 3, 3, "96M", "4-5")
    assert processor.last_cache_bytes(tmp_path) == (96 + 2 * 16) << 20
    assert processor.last_cache_bytes(tmp_path / "missing") == 0
    # A thread reads through one of them.
    assert [processor.cache_bytes(threads, tmp_path) >> 20 for threads in (1, 2, 3, 9)] == [96, 112, 128, 128]
    assert processor.cache_bytes(1, tmp_path / "missing") == 0

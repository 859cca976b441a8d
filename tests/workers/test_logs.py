"""Workers' logs, read back by job."""

from contextlib import closing

from studies import drive, order, process_pool, study

from nasctl.workers.logs import LogReader, is_marker, log_files, marker


def test_lines_stand_under_the_job_that_was_at_work(tmp_path):
    path = tmp_path / "worker-12.log"
    path.with_suffix(".log.1").write_bytes(b"a banner\n" + marker("s/3", 2) + b"\nold\n")
    path.write_bytes(b"goes on\n" + marker() + b"\nstarts\n" + marker("t/0", 1) + b"\nhal")
    reader = LogReader(path)
    lines = [(section.worker, section.job, section.attempt, line) for section, line in reader.lines()]
    assert lines == [
        (12, "", 0, "a banner"),
        (12, "s/3", 2, "old"),
        (12, "s/3", 2, "goes on"),
        (12, "", 0, "starts"),
    ]
    with path.open("ab") as log:
        log.write(b"f\n")
    assert [(section.job, line) for section, line in reader.lines()] == [("t/0", "half")]
    assert list(reader.lines()) == []
    path.write_bytes(b"anew\n")  # the older part was put aside
    assert [line for _, line in reader.lines()] == ["anew"]
    path.unlink()
    assert list(reader.lines()) == []


def test_a_pool_marks_every_job(tmp_path):
    faults = {"s/1": {"kind": "raise", "attempts": 1}}
    drive(tmp_path, [order(study(trials=2, in_flight=1), faults=faults)], process_pool(tmp_path, 1))
    text = (tmp_path / "logs" / "worker-0.log").read_text()
    marked = [line.split(", 2")[0] for line in text.splitlines() if is_marker(line)]
    jobs = [
        f"--- nasctl: job s/{what}" for what in ("0, attempt 1", "1, attempt 1", "1, attempt 2", "final, attempt 1")
    ]
    start = "--- nasctl: worker starts"
    assert marked == [start, *jobs[:2], start, *jobs[2:]]


def test_two_pools_in_one_folder_never_write_to_one_log(tmp_path):
    first, second = process_pool(tmp_path, 1), process_pool(tmp_path, 1)
    with closing(first), closing(second):
        first.start()
        second.start()
        assert [path.relative_to(tmp_path / "logs").as_posix() for path in log_files(tmp_path / "logs")] == [
            "worker-0.log",
            "2/worker-0.log",
        ]
    third = process_pool(tmp_path, 1)
    with closing(third):
        third.start()
        assert len(log_files(tmp_path / "logs")) == 2  # the first one's is free again

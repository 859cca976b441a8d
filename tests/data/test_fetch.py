"""Fetching from a server on loopback that misbehaves on demand."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import MappingProxyType

import pytest

from nasctl.data import fetch as fetching
from nasctl.data.archives import extract_member
from nasctl.data.fetch import check
from nasctl.data.official import read_sick
from nasctl.data.published import PUBLISHED, Address, Published, PublishedFile, rows_sha256
from nasctl.errors import MachineError, StateMismatchError, UsageError

ROWS = b"1\ta\tb\n2\tc\td\n"
SHA256 = hashlib.sha256(ROWS).hexdigest()


class Server(ThreadingHTTPServer):
    """`answers` maps a path to (status, body, promised length) triples, the last of which stays."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked = {}, Counter()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def serve(self, path, *answers):
        self.answers[f"/{path}"] = [a if isinstance(a, tuple) else (200, a, len(a)) for a in answers]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answers = self.server.answers.get(self.path, [(404, b"", 0)])
        status, body, length = answers[min(self.server.asked[self.path], len(answers) - 1)]
        self.server.asked[self.path] += 1
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.0)
    with Server() as running:
        Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def publish(monkeypatch):
    """Replace what is published by one data set of one file."""

    def one(*addresses, **changes):
        file = replace(PublishedFile("rows.tsv", 2, SHA256, 10_000, tuple(addresses)), **changes)
        monkeypatch.setattr(fetching, "PUBLISHED", {"made-up": Published("folder", "Made up", "none", (file,))})

    return one


def fetch(names, root, **flags):
    return list(fetching.fetch(names, root, **flags))


def tree(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def zipped(*members, link=False):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if link else 0o100644) << 16
            archive.writestr(info, content)
    return stream.getvalue()


def tarred(*members, kind=tarfile.REGTYPE):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("header", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbfid\tA\tB\r\n", b"id\tA\tB\n"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_file_is_fetched_whatever_its_header_and_line_ends(server, publish, tmp_path, header, end):
    body = header + ROWS.replace(b"\n", end)
    server.serve("rows", body)
    publish(Address(server.url("rows")), header="id")
    assert fetch(["made-up"], tmp_path / "root") == [tmp_path / "root/folder/rows.tsv"]
    assert tree(tmp_path / "root") == ["folder", "folder/rows.tsv"]
    assert (tmp_path / "root/folder/rows.tsv").read_bytes() == body
    assert [finding.state for finding in check(["made-up"], tmp_path / "root")] == ["ok"]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_file_is_taken_out_of_an_archive_and_nothing_else(server, publish, tmp_path, pack):
    server.serve("archive", pack(("inner/readme.txt", b"no"), ("inner/rows.tsv", ROWS)))
    publish(Address(server.url("archive"), "inner/rows.tsv"))
    fetch(["made-up"], tmp_path)
    assert tree(tmp_path) == ["folder", "folder/rows.tsv"]


def test_an_archive_of_many_files_is_downloaded_once(server, tmp_path, monkeypatch):
    server.serve("archive", tarred(("a.tsv", ROWS), ("b.tsv", ROWS)))
    files = tuple(
        PublishedFile(name, 2, SHA256, 10_000, (Address(server.url("archive"), name),)) for name in ("a.tsv", "b.tsv")
    )
    monkeypatch.setattr(fetching, "PUBLISHED", {"two": Published("two", "Two", "none", files)})
    assert len(fetch(["two"], tmp_path)) == 2
    assert server.asked["/archive"] == 1


def test_what_is_there_is_not_asked_for_again(server, publish, tmp_path):
    server.serve("rows", ROWS)
    publish(Address(server.url("rows")))
    fetch(["made-up"], tmp_path)
    assert fetch(["made-up"], tmp_path) == []
    assert server.asked["/rows"] == 1


def test_a_wrong_hash_leaves_nothing_and_shows_both(server, publish, tmp_path):
    server.serve("rows", b"1\ta\tb\n2\tc\tX\n")
    publish(Address(server.url("rows")))
    with pytest.raises(MachineError) as caught:
        fetch(["made-up"], tmp_path)
    assert caught.value.exit_code == 4
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(b"1\ta\tb\n2\tc\tX\n").hexdigest() in str(caught.value)
    assert server.url("rows") in str(caught.value)
    assert tree(tmp_path) == []


def test_a_passing_failure_is_tried_again(server, publish, tmp_path):
    server.serve("rows", (500, b"", 0), (200, ROWS[:5], len(ROWS)), ROWS)
    publish(Address(server.url("rows")))
    fetch(["made-up"], tmp_path)
    assert (tmp_path / "folder/rows.tsv").read_bytes() == ROWS
    assert server.asked["/rows"] == 3


def test_a_body_that_is_always_short_is_a_failure_and_leaves_nothing(server, publish, tmp_path):
    server.serve("rows", (200, ROWS[:5], len(ROWS)))
    publish(Address(server.url("rows")))
    with pytest.raises(MachineError, match=r"rows.tsv could not be fetched, .* in 4 attempts"):
        fetch(["made-up"], tmp_path)
    assert server.asked["/rows"] == 4
    assert tree(tmp_path) == []


def test_what_is_gone_is_not_asked_for_again_and_the_next_address_is_taken(server, publish, tmp_path):
    server.serve("mirror", ROWS)
    server.serve("changed", b"other\n")
    publish(Address(server.url("gone")), Address(server.url("changed")), Address(server.url("mirror")))
    fetch(["made-up"], tmp_path)
    assert server.asked == {"/gone": 1, "/changed": 1, "/mirror": 1}
    assert (tmp_path / "folder/rows.tsv").read_bytes() == ROWS


def test_no_server_at_all_is_a_failure_of_the_machine(publish, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.0)
    publish(Address("http://127.0.0.1:9/rows"))
    with pytest.raises(MachineError, match=r"http://127.0.0.1:9/rows: no usable answer") as caught:
        fetch(["made-up"], tmp_path)
    assert "rows.tsv could not be fetched, and nothing of it was kept: " in str(caught.value)


def test_what_came_before_a_failure_is_kept_and_told(server, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from nasctl.cli.main import main

    server.serve("here", ROWS)
    known = {
        name: Published(
            name, name, "none", (PublishedFile("rows.tsv", 2, SHA256, 10_000, (Address(server.url(name)),)),)
        )
        for name in ("here", "gone")
    }
    monkeypatch.setattr(fetching, "PUBLISHED", known)
    result = CliRunner().invoke(main, ["data", "fetch", "here", "gone", f"data.root={tmp_path}"])
    assert (result.exit_code, result.stdout) == (4, f"{tmp_path}/here/rows.tsv\n")
    assert f"{tmp_path}/gone/rows.tsv could not be fetched" in result.stderr
    assert tree(tmp_path) == ["here", "here/rows.tsv"]


def test_a_server_that_never_ends_is_stopped(server, publish, tmp_path):
    server.serve("rows", ROWS * 100)
    publish(Address(server.url("rows")), limit=500)
    with pytest.raises(MachineError, match="sends more than the 500 bytes"):
        fetch(["made-up"], tmp_path)
    assert tree(tmp_path) == []


UNSAFE = ("../rows.tsv", "/tmp/rows.tsv", "inner/../../rows.tsv", "..\\rows.tsv", "C:\\rows.tsv")


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", UNSAFE)
def test_an_archive_that_would_write_elsewhere_is_refused(server, publish, tmp_path, pack, name):
    server.serve("archive", pack(("rows.tsv", ROWS), (name, b"harm")))
    root = tmp_path / "deep/root"
    publish(Address(server.url("archive"), "rows.tsv"))
    with pytest.raises(MachineError, match="unsafe path"):
        fetch(["made-up"], root)
    assert tree(tmp_path) == ["deep", "deep/root"]


@pytest.mark.parametrize(
    "archive",
    [
        zipped(("rows.tsv", b"/etc/passwd"), link=True),
        tarred(("rows.tsv", b""), kind=tarfile.SYMTYPE),
        tarred(("rows.tsv", b""), kind=tarfile.LNKTYPE),
        tarred(("rows.tsv", b""), kind=tarfile.DIRTYPE),
        tarred(("rows.tsv", b""), kind=tarfile.FIFOTYPE),
    ],
)
def test_a_link_or_a_special_file_is_refused(tmp_path, archive):
    (tmp_path / "archive").write_bytes(archive)
    with pytest.raises(MachineError, match="no plain file"):
        extract_member(tmp_path / "archive", "rows.tsv", tmp_path / "out", 100)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_what_grows_beyond_its_limit_is_stopped(tmp_path, pack):
    (tmp_path / "archive").write_bytes(pack(("rows.tsv", b"0" * 5_000_000)))
    with pytest.raises(MachineError, match="larger than the 1000 bytes"):
        extract_member(tmp_path / "archive", "rows.tsv", tmp_path / "out", 1000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>Not found</html>", "broken archive"),
        (zipped(("rows.tsv", ROWS))[:-30], "broken archive"),
        (tarred(("rows.tsv", ROWS * 99))[:60], "broken archive"),
        (zipped(("other.tsv", ROWS)), "holds no rows.tsv"),
        (tarred(("other.tsv", ROWS)), "holds no rows.tsv"),
    ],
    ids=["page", "half a zip", "half a tar", "another zip", "another tar"],  # of bytes that have the time in them
)
def test_an_archive_that_is_none_is_said_so(tmp_path, content, message):
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(MachineError, match=message):
        extract_member(tmp_path / "archive", "rows.tsv", tmp_path / "out", 10_000)


def test_a_file_of_ones_own_is_never_overwritten(server, publish, tmp_path):
    server.serve("rows", ROWS)
    publish(Address(server.url("rows")))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/rows.tsv").write_text("mine\n")
    with pytest.raises(StateMismatchError, match=r"rows.tsv is not the published file") as caught:
        fetch(["made-up"], tmp_path)
    assert "move it away" in caught.value.hint
    assert (tmp_path / "folder/rows.tsv").read_text() == "mine\n"
    assert server.asked["/rows"] == 0


def test_check_says_of_each_file_what_it_is_and_how_to_get_it(publish, tmp_path):
    publish(Address("http://example.org/rows"))
    (missing,) = check(["made-up"], tmp_path)
    assert (missing.state, missing.path) == ("missing", tmp_path / "folder/rows.tsv")
    assert "nasctl data fetch made-up" in missing.hint
    assert "http://example.org/rows" in missing.hint
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/rows.tsv").write_bytes(ROWS[:-1] + b"!\n")
    (changed,) = check(["made-up"], tmp_path)
    assert changed.state == "changed"
    assert SHA256 in changed.message
    (tmp_path / "folder/rows.tsv").write_bytes(b"\xff\xff")
    assert "no UTF-8 text" in check(["made-up"], tmp_path)[0].message


def test_vectors_are_known_by_their_shape(server, publish, tmp_path):
    body = b"the 0.1 0.2\na 0.3 0.4\n"
    server.serve("vectors.zip", zipped(("vectors.txt", body)))
    publish(Address(server.url("vectors.zip"), "vectors.txt"), sha256="", width=3)
    with pytest.raises(MachineError, match="2 vectors of width 2, expected 2 of width 3"):
        fetch(["made-up"], tmp_path)
    publish(Address(server.url("vectors.zip"), "vectors.txt"), sha256="", width=2)
    assert len(fetch(["made-up"], tmp_path)) == 1


def test_a_name_that_is_not_published_is_refused_with_the_nearest(tmp_path):
    for ask in (fetch, check):
        with pytest.raises(UsageError, match="nothing called sik") as caught:
            ask(["sik"], tmp_path)
        assert "did you mean sick?" in caught.value.hint


def test_too_little_room_is_said_before_anything_is_asked(server, publish, tmp_path):
    publish(Address(server.url("rows")), limit=10**18)
    with pytest.raises(MachineError, match="GB free, the download may need"):
        fetch(["made-up"], tmp_path)
    assert not server.asked


def test_a_folder_that_cannot_be_written_is_said_so(server, publish, tmp_path):
    server.serve("rows", ROWS)
    publish(Address(server.url("rows")))
    (tmp_path / "root").write_text("a file")
    with pytest.raises(MachineError, match="cannot write below") as caught:
        fetch(["made-up"], tmp_path / "root")
    assert "data.root" in caught.value.hint


def test_progress_draws_a_bar_and_changes_nothing(server, publish, tmp_path, capsys):
    server.serve("rows", ROWS)
    publish(Address(server.url("rows")))
    assert len(fetch(["made-up"], tmp_path, progress=True)) == 1
    assert "100%" in capsys.readouterr().err


def test_sick_comes_from_the_joint_file_where_its_own_site_is_gone(server, tmp_path, monkeypatch):
    from published import write_sick

    write_sick(tmp_path / "own")
    rows = ["pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score\tentailment_AB\tSemEval_set"]
    for name, split in (("SICK_test_annotated.txt", "TEST"), ("SICK_train.txt", "TRAIN")):
        for line in (tmp_path / "own" / name).read_text().splitlines():
            number, first, second, score, entailment = line.split("\t")
            rows.append(f"{number}\t{first}\t{second}\t{entailment}\t{score}\tA_neutral_B\t{split}")
    rows.append("4\ta\tb\tNEUTRAL\t3.6\tA_neutral_B\tTRIAL")
    server.serve("SICK.zip", zipped(("SICK.txt", "\r\n".join(rows).encode())))
    files = tuple(
        replace(
            file,
            sha256=rows_sha256(tmp_path / "own" / file.name, file.header),
            addresses=tuple(
                replace(address, url=server.url("SICK.zip" if address.split else "gone")) for address in file.addresses
            ),
        )
        for file in PUBLISHED["sick"].files
    )
    monkeypatch.setattr(fetching, "PUBLISHED", {"sick": replace(PUBLISHED["sick"], files=files)})
    fetch(["sick"], tmp_path / "root")
    assert (tmp_path / "root/sick/SICK_train.txt").read_bytes() == (tmp_path / "own/SICK_train.txt").read_bytes()
    assert len(read_sick(tmp_path / "root/sick")["test"].pairs) == 4927
    assert server.asked == {"/gone": 2, "/SICK.zip": 1}


def test_what_is_published_is_complete():
    assert isinstance(PUBLISHED, MappingProxyType)
    for name, published in PUBLISHED.items():
        assert published.title
        assert published.licence
        for file in published.files:
            assert file.addresses, name
            assert bool(file.sha256) != bool(file.width)
            assert all(address.url.startswith("http") for address in file.addresses)

"""The published files that nasctl reads: where each comes from, and how it is known to be whole.

Hashes are of a file's rows (`rows_sha256`), not of an archive: they were computed from copies of the published files,
and hold whatever line ends, byte order mark or header line an address adds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

__all__ = ["PUBLISHED", "Address", "Published", "PublishedFile", "rows_sha256"]

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Address:
    """Where a file can be had: at `url` itself or as `member` of the archive there.

    `split` picks the rows of one SemEval split from the joint file of SICK ("" for every other file).
    """

    url: str
    member: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file: its rows (a header line, which starts with `header`, not counted), the hash of their text, a limit of
    its size in bytes, and its addresses, tried in order. A file of vectors has a `width` and no hash.
    """

    name: str
    rows: int
    sha256: str
    limit: int
    addresses: tuple[Address, ...]
    header: str = ""
    width: int = 0


@dataclass(frozen=True, slots=True)
class Published:
    """The files of one data set, below `folder` of the folder of data sets; `licence` is its owner's."""

    folder: str
    title: str
    licence: str
    files: tuple[PublishedFile, ...]

    def file(self, name: str) -> PublishedFile:
        """The file of that name."""
        return next(file for file in self.files if file.name == name)


SENTEVAL = "https://dl.fbaipublicfiles.com/senteval/senteval_data"
SEMEVAL = "https://alt.qcri.org/semeval2014/task1/data/uploads"
ZENODO_SICK = "https://zenodo.org/record/2787612/files/SICK.zip"
STS_WIKI = "http://ixa2.si.ehu.eus/stswiki/images/4/48/Stsbenchmark.tar.gz"

PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "mrpc": Published(
            "mrpc",
            "Microsoft Research Paraphrase Corpus, split as in GLUE",
            "Microsoft research terms",
            (
                PublishedFile(
                    "msr_paraphrase_train.txt",
                    4076,
                    "f8fac3c8057fdeab02ae997e35d0b994780f0be878dd1a25c2f7bbd3db46aca4",
                    10 * MEGABYTE,
                    (Address(f"{SENTEVAL}/msr_paraphrase_train.txt"),),
                    header="Quality",
                ),
                PublishedFile(
                    "msr_paraphrase_test.txt",
                    1725,
                    "e008ddd2215896cda9ff12e42b048bab6442c6b0a5469397f774c6f1223e3e37",
                    10 * MEGABYTE,
                    (Address(f"{SENTEVAL}/msr_paraphrase_test.txt"),),
                    header="Quality",
                ),
                PublishedFile(
                    "dev_ids.tsv",
                    408,
                    "971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7",
                    MEGABYTE,
                    (Address("https://dl.fbaipublicfiles.com/glue/data/mrpc_dev_ids.tsv"),),
                ),
            ),
        ),
        "stsb": Published(
            "stsb",
            "STS benchmark",
            "CC BY-SA 4.0 for the scores, the text per source",
            (
                PublishedFile(
                    "sts-train.csv",
                    5749,
                    "0f71910b59aa1ad973c5897f0791f3b0965a92b8f82b1a95f3eea9f4162fda82",
                    10 * MEGABYTE,
                    (Address(STS_WIKI, "stsbenchmark/sts-train.csv"),),
                ),
                PublishedFile(
                    "sts-dev.csv",
                    1500,
                    "5d7e944d8b02734b07bfdb5df67db3420c64bed153fcaa1ba47ad03480cf4234",
                    10 * MEGABYTE,
                    (Address(STS_WIKI, "stsbenchmark/sts-dev.csv"),),
                ),
                PublishedFile(
                    "sts-test.csv",
                    1379,
                    "affe45928a66ee5a708531233c95b7dacbbdc57f974f002a3d32ea0180cf816a",
                    10 * MEGABYTE,
                    (Address(STS_WIKI, "stsbenchmark/sts-test.csv"),),
                ),
            ),
        ),
        "sick": Published(
            "sick",
            "SICK, relatedness (SICK-R), SemEval-2014 task 1",
            "CC BY-NC-SA 3.0",
            (
                PublishedFile(
                    "SICK_train.txt",
                    4500,
                    "f4d128aad59deb5f3d539a97fb8bf23ee111df99c904387b5025c69b7fc31b81",
                    10 * MEGABYTE,
                    (
                        Address(f"{SEMEVAL}/sick_train.zip", "SICK_train.txt"),
                        Address(ZENODO_SICK, "SICK.txt", "TRAIN"),
                    ),
                    header="pair_ID",
                ),
                PublishedFile(
                    "SICK_test_annotated.txt",
                    4927,
                    "a7b22f10009c0094f213d7ad721152c5d0b63225c9e440fe1d754dbc61b0f21b",
                    10 * MEGABYTE,
                    (
                        Address(f"{SEMEVAL}/sick_test_annotated.zip", "SICK_test_annotated.txt"),
                        Address(ZENODO_SICK, "SICK.txt", "TEST"),
                    ),
                    header="pair_ID",
                ),
            ),
        ),
        "glove": Published(
            "vectors",
            "GloVe, 6 billion tokens, 300 numbers per word (1 GB, in an archive of 0.9 GB)",
            "PDDL",
            (
                PublishedFile(
                    "glove.6B.300d.txt",
                    400_000,
                    "",
                    1_200 * MEGABYTE,
                    (Address("https://nlp.stanford.edu/data/glove.6B.zip", "glove.6B.300d.txt"),),
                    width=300,
                ),
            ),
        ),
    }
)
"""By the name that `nasctl data fetch` takes."""


def rows_sha256(path: Path, header: str) -> str:
    """The hash of a text file's rows: byte order mark and header dropped, line feeds alone, one at the end.

    Raises UnicodeDecodeError for a file that is no UTF-8 text.
    """
    lines = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n").split("\n")
    if header and lines[0].startswith(f"{header}\t"):
        del lines[0]
    return hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()

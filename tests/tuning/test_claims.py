"""Claims: one process has a study, by whatever name it knows the database, and whatever becomes of the server."""

import itertools

import pytest
import sqlalchemy

from nasctl.errors import StateMismatchError
from nasctl.tuning.study import claims
from nasctl.tuning.study.claims import FileClaims, SessionClaims

GONE = sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception("server closed the connection unexpectedly"))


class Server:
    """PostgreSQL, as far as claims speak to it."""

    def __init__(self):
        self.away = False
        self.sessions = []
        self.locks = {}

    def connect(self):
        if self.away:
            raise GONE
        self.sessions.append(Session(self))
        return self.sessions[-1]

    def end(self, session):
        self.sessions.remove(session)
        self.locks = {key: owner for key, owner in self.locks.items() if owner is not session}

    def restart(self):
        for session in list(self.sessions):
            self.end(session)

    def lose_the_network(self):
        """No client has its session any more, and the server does not know."""
        for session in self.sessions:
            session.lost = True


class Session:
    def __init__(self, server):
        self.server, self.name, self.lost = server, "", False

    def execution_options(self, **_):
        return self

    def execute(self, statement, values=None):
        if self.lost or self not in self.server.sessions:
            raise GONE
        rows = []
        if statement is claims._LOCK:
            rows = [(self.server.locks.setdefault(values["key"], self) is self,)]
        elif statement is claims._NAME:
            self.name = values["name"]
        elif statement is claims._END_OTHERS:
            others = [each for each in self.server.sessions if each.name == values["name"] and each is not self]
            for other in others:
                self.server.end(other)
            rows = [(True,) for _ in others]
        else:
            assert statement is claims._ANSWER
        return Rows(rows)

    def invalidate(self):
        if not self.lost and self in self.server.sessions:
            self.server.end(self)

    def close(self):
        pass


class Rows(list):
    def all(self):
        return self

    def scalar(self):
        return self[0][0]


@pytest.fixture
def server():
    return Server()


@pytest.fixture(params=["file", "another name of the file", "server"])
def both(request, tmp_path, server):
    """The claims of two processes on one database."""
    if request.param == "server":
        return SessionClaims(server), SessionClaims(server)
    file, other = tmp_path / "studies.db", tmp_path / "link.db"
    other.symlink_to(file)
    return FileClaims(file), FileClaims(file if request.param == "file" else other)


def refused(taken):
    return pytest.raises(StateMismatchError, match=f"the study {taken} is driven by another scheduler")


def test_a_study_is_one_process_s_until_that_releases_it(both):
    ours, theirs = both
    ours.take("s")
    ours.take("s")  # it is ours already
    with refused("s"):
        theirs.take("s")
    theirs.take("t")
    with refused("t"):
        ours.take("t")
    ours.release()
    theirs.take("s")
    with refused("s"):
        ours.take("s")


def test_what_a_restarted_server_has_forgotten_is_taken_again(server):
    ours, theirs = SessionClaims(server), SessionClaims(server)
    for study in ("s", "t"):
        ours.take(study)
    server.restart()
    ours.hold()
    for study in ("s", "t"):
        with refused(study):
            theirs.take(study)
    assert len(server.sessions) == 2


def test_whoever_was_faster_after_a_restart_has_the_study(server):
    ours, theirs = SessionClaims(server), SessionClaims(server)
    ours.take("s")
    server.restart()
    theirs.take("s")
    for _ in range(2):
        with refused("s"):
            ours.hold()
    theirs.release()
    ours.hold()


def test_a_server_that_is_away_leaves_the_claims_for_later(server):
    ours = SessionClaims(server)
    ours.take("s")
    server.restart()
    server.away = True
    for _ in range(2):
        with pytest.raises(claims.AWAY):
            ours.hold()
    server.away = False
    ours.hold()
    with refused("s"):
        SessionClaims(server).take("s")


def test_a_session_that_the_network_has_lost_is_no_other_scheduler(server):
    ours, theirs = SessionClaims(server), SessionClaims(server)
    ours.take("s")
    server.lose_the_network()
    with refused("s"):
        theirs.take("s")
    ours.hold()
    with refused("s"):
        theirs.take("s")


def test_a_session_that_will_not_end_is_not_waited_for_long(server, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(claims.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(claims.time, "sleep", lambda _: None)
    ours = SessionClaims(server)
    ours.take("s")
    server.lose_the_network()
    monkeypatch.setattr(server, "end", lambda _: None)
    with refused("s"):
        ours.hold()


def test_without_claims_there_is_no_session(server):
    ours = SessionClaims(server)
    ours.hold()
    ours.release()
    assert server.sessions == []

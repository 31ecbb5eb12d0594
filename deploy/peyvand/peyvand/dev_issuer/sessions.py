"""Sessions of the development issuer: each sign-in is one, until it is signed out of, misused or a day old.

A refresh token is used once. If an older one comes back, someone has copied it, and the session ends. The one before
the current is tolerated for a few seconds, because two tabs may refresh at the same time.
"""

import hmac
import secrets
import time

import msgspec

from peyvand.dev_issuer.identity import DevIdentity

TOKEN_SECONDS = 300  # of an access token: sign-out must not wait longer, if the issuer cannot be reached
SESSION_SECONDS = 24 * 3_600
TOLERATED_SECONDS = 10.0
MAX_SESSIONS = 10_000  # at a time; the oldest are dropped first
MAX_REVOKED = 10_000


class Session(msgspec.Struct):
    """One sign-in, its current refresh token, and the one before it."""

    id: str
    identity: DevIdentity
    expires: float
    token: str
    previous: str = ""
    rotated_at: float = 0.0


class Sessions:
    """All sessions, in memory: a restart of the issuer ends them, and access tokens expire."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self._revoked: dict[str, float] = {}  # id -> when the last access token of the session has expired

    def start(self, identity: DevIdentity) -> Session:
        """Return a new session."""
        now = time.monotonic()
        expired = [id for id, each in self.sessions.items() if each.expires < now]
        for id in expired or list(self.sessions)[: max(0, len(self.sessions) - MAX_SESSIONS + 1)]:
            del self.sessions[id]
        id = new_session_id()
        session = self.sessions[id] = Session(id, identity, now + SESSION_SECONDS, _refresh_token(id))
        return session

    def refresh(self, token: str) -> Session | None:
        """Return the session with its next refresh token; None if the token is not, or no longer, one."""
        now, session = time.monotonic(), self.sessions.get(token.partition(".")[0])
        if session is None or session.expires < now:
            return None
        if _equal(token, session.token):
            session.previous, session.token, session.rotated_at = token, _refresh_token(session.id), now
            return session
        if _equal(token, session.previous) and now - session.rotated_at <= TOLERATED_SECONDS:
            return session
        self.revoke(session.id)
        return None

    def find(self, token: str) -> Session | None:
        """Return the session whose current or previous refresh token this is."""
        session = self.sessions.get(token.partition(".")[0])
        known = session and (_equal(token, session.token) or _equal(token, session.previous))
        return session if known else None

    def revoke(self, id: str) -> None:
        """End a session, and list its id until its access tokens have expired."""
        self.sessions.pop(id, None)
        self._revoked[id] = time.monotonic() + TOKEN_SECONDS
        while len(self._revoked) > MAX_REVOKED:
            del self._revoked[next(iter(self._revoked))]

    def revoked(self) -> list[str]:
        """Return the ids of ended sessions whose access tokens have not expired."""
        now = time.monotonic()
        self._revoked = {id: until for id, until in self._revoked.items() if until > now}
        return sorted(self._revoked)


def new_session_id() -> str:
    """Return a random id without a dot."""
    return secrets.token_urlsafe(12)


def _refresh_token(id: str) -> str:
    return f"{id}.{secrets.token_urlsafe(32)}"


def _equal(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(), b.encode())

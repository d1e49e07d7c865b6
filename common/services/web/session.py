"""Who may use a page: whoever has the address that the command printed, once, and then that browser.

A token in an address is kept by histories, so it works once and is exchanged for a cookie that no script can read and
no other site's page sends along (HttpOnly, SameSite=Strict).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

HOURS = 8
"""As long as a working day; then the command is started again."""


class Session:
    """One token, and the one browser that showed it.

    Args:
        name: Of the cookie. Cookies know no ports, so pages on two ports need two names.
        clock: Seconds that never go back.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.token = secrets.token_urlsafe(32)
        self._name, self._clock = name, clock
        self._key: str | None = None
        self._ends = 0.0

    def exchange(self, token: str) -> str | None:
        """Returns the value of a ``Set-Cookie`` header for the right token; None for a wrong or a used one."""
        if self._key is not None or not secrets.compare_digest(token.encode(), self.token.encode()):
            return None
        self._key, self._ends = secrets.token_urlsafe(32), self._clock() + HOURS * 3600
        return f"{self._name}={self._key}; Path=/; Max-Age={HOURS * 3600}; HttpOnly; SameSite=Strict"

    def holds(self, cookies: str) -> bool:
        """Returns whether a ``Cookie`` header is that of the browser that showed the token, for eight hours."""
        try:
            found = SimpleCookie(cookies).get(self._name)
        except CookieError:
            return False
        if found is None or self._key is None or self._clock() >= self._ends:
            return False
        return secrets.compare_digest(found.value.encode(), self._key.encode())

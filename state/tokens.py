"""Tokens: who may use the pages and the HTTP interface, by a secret of which only a digest is stored.

A token has a name, a role and an end; it is revoked at once, by name.  The secret has 256 random bits, so its plain
SHA-256 cannot be searched for: a slow hash would only delay every request.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from datetime import datetime

from sqlalchemy import select

from state.errors import NameTaken, NotFound
from state.records import Role, Token
from state.tables import Tokens, table
from state.transaction import NewEvent, Reader, Writer, columns_of

TOKENS = table(Tokens)
_TOKEN = columns_of(TOKENS, Token)
PREFIX = "kbsync_"
"""What every secret begins with, so that scanners of repositories recognise one."""


def digest_of_secret(secret: str) -> str:
    """What the ledger stores of a secret: its SHA-256, in hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class TokenQueries(Reader):
    def tokens(self) -> tuple[Token, ...]:
        """Every token that was ever created, by name."""
        return tuple(Token(*row) for row in self._rows(select(*_TOKEN).order_by(TOKENS.c.name)))

    def token_of(self, secret: str) -> Token | None:
        """The token with this secret that is valid now; None if there is none."""
        row = self._row(select(*_TOKEN).where(TOKENS.c.digest == digest_of_secret(secret)))
        found = None if row is None else Token(*row)
        return found if found is not None and found.is_valid(self.clock()) else None


class TokenTransitions(TokenQueries, Writer):
    def create_token(self, name: str, role: Role, expires: datetime, actor: str) -> tuple[Token, str]:
        """A new token and its secret, which is stored nowhere.

        Raises NameTaken: names are not used again, since the audit log has them.
        """
        if self._row(select(TOKENS.c.name).where(TOKENS.c.name == name)) is not None:
            raise NameTaken(f"a token named {name!r} exists, or existed: choose another name")
        secret = f"{PREFIX}{secrets.token_urlsafe(32)}"
        made = Token(name, role, digest_of_secret(secret), actor, self.clock(), expires, None)
        self._insert(TOKENS, [{column.name: getattr(made, column.name) for column in _TOKEN}])
        self._log(
            actor, [NewEvent("token.created", {"token": name, "role": role, "expires": expires.isoformat()})]
        )
        return made, secret

    def revoke_token(self, name: str, reason: str, actor: str) -> Token:
        """The token is refused from now on.  Raises NotFound; a token that is revoked already stays as it is."""
        row = self._row(select(*_TOKEN).where(TOKENS.c.name == name))
        if row is None:
            raise NotFound("token", name)
        found = Token(*row)
        if found.revoked is None:
            found = replace(found, revoked=self.clock())
            self._update(TOKENS, TOKENS.c.name == name, revoked=found.revoked)
            self._log(actor, [NewEvent("token.revoked", {"token": name, "reason": reason})])
        return found

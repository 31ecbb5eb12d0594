"""An issuer for tests: it signs access tokens as the real one does and writes the pinned keys.

issuer = Issuer(tmp_path)
settings = Settings(..., issuer=issuer.name, jwks=issuer.jwks)
client.post(url, headers=issuer.bearer("registrar", province="IR-20"))
"""

import json
import time
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey

NAME = "http://127.0.0.1:8080/issuer"


class Issuer:
    """Sign any claims with one ES256 key."""

    def __init__(self, folder: Path, name: str = NAME, audience: str = "peyvand") -> None:
        self.name, self.audience, self.jwks = name, audience, folder / "jwks.json"
        self.key = ECKey.generate_key("P-256", {"kid": "test-1", "use": "sig", "alg": "ES256"})
        self.publish(self.key)

    def publish(self, *keys: Any) -> None:
        """Write these as the pinned public keys."""
        self.jwks.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))

    def token(self, *roles: str, id: str = "of-2f9c", **claims: Any) -> str:
        """Return an access token valid for 5 minutes; `claims` add to the usual ones or replace them."""
        now = int(time.time())
        payload = {
            "iss": self.name,
            "sub": id,
            "aud": self.audience,
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "roles": list(roles),
            **claims,
        }
        header = {"alg": "ES256", "kid": self.key.kid, "typ": "at+jwt"}
        return jws.serialize_compact(header, json.dumps(payload).encode(), self.key)  # any text, as escapes

    def bearer(self, *roles: str, id: str = "of-2f9c", **claims: Any) -> dict[str, str]:
        """Return the header of a request with such a token."""
        return {"Authorization": f"Bearer {self.token(*roles, id=id, **claims)}"}

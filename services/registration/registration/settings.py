"""Settings of the registration service."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, SecretStr

from base.settings import Settings, secret


class RegistrationSettings(Settings):
    """Settings of the service that keeps personal data."""

    master_key: SecretStr = secret("Wraps the key of each person; do not keep it with the backups of the data.")
    index_key: SecretStr = secret("Key of the blind indexes, which find a person without decrypting anything.")
    tracking_key: SecretStr = secret("Key from which tracking codes are computed; none of them is stored.")
    key_version: int = Field(
        default=1,
        ge=1,
        le=255,
        description="Version of the three keys. To rotate them, set new ones under a higher version and keep the "
        "former ones in PEYVAND_OLDER_KEYS.",
    )
    older_keys: dict[int, tuple[SecretStr, SecretStr, SecretStr]] = Field(
        default_factory=dict,
        description="Other valid keys during a rotation, as JSON: version to [master_key, index_key, tracking_key]. "
        "Identities that are stored under them need them: `peyvand keys end` removes them.",
    )
    former_tracking_keys: dict[int, SecretStr] = Field(
        default_factory=dict,
        description="Tracking keys of ended rotations, as JSON: version to key. Keep them: tracking codes issued under "
        "them need them.",
    )
    max_pending_events: int = Field(
        default=200_000, ge=1, description="Subjects with pending events above which new applications get a 503."
    )
    min_free_disk: int = Field(
        default=512, ge=0, description="Free megabytes of the database's disk below which new applications get a 503."
    )
    sms_url: str = Field(
        default="",
        description="Address of the provider of text messages (Kavenegar's interface), without the key of the account: "
        "`https://api.kavenegar.com/v1`. Required outside development.",
    )
    sms_key: SecretStr = secret("Key of the account with the provider of text messages.")
    sms_sender: str = Field(default="", description="Line from which text messages are sent; empty: the account's own.")
    sms_file: Path | None = Field(
        default=None,
        description="File to which text messages are written, numbers and codes in clear, where there is no provider; "
        "development only. Without both none is sent.",
    )

    def _problems(self) -> Iterator[tuple[str, str]]:
        if not self.sms_url.startswith("https://"):
            yield "SMS_URL", "must be an https:// address outside development"
        if self.sms_file is not None:
            yield "SMS_FILE", "is set: it would hold numbers and codes in clear, which is for development only"
        yield from super()._problems()

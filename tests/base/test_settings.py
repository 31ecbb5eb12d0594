"""A process starts only with settings that will do, and says which will not."""

from pathlib import Path

import pytest

from base.settings import Settings, load, table
from registration.settings import KeySettings

STRONG = "7f3b1a9c5d2e8f4071b6c3a95e0d2f84"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What production is told."""
    told = {
        "SERVICE": "registration",
        "KAFKA": "kafka:9092",
        "MONGO": "mongodb://registration:secret-of-mongo@db/",
        "DATABASE": "registration",
        "JWKS": "/etc/peyvand/jwks.json",
        "FINGERPRINT_KEY": STRONG,
        "MASTER_KEY": STRONG,
        "INDEX_KEY": STRONG,
    }
    for name, value in told.items():
        monkeypatch.setenv(f"PEYVAND_{name}", value)
    return monkeypatch


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """What the process says before it ends."""
    with pytest.raises(SystemExit) as ended:
        load(KeySettings)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_production_starts_with_all_that_it_needs() -> None:
    settings = load(KeySettings)

    assert settings.environment == "production" and not settings.development
    assert settings.jwks == Path("/etc/peyvand/jwks.json")


@pytest.mark.parametrize("name", ["MASTER_KEY", "INDEX_KEY", "FINGERPRINT_KEY"])
@pytest.mark.parametrize("value", [None, "", "development", "development-but-longer-than-32-characters", "short"])
def test_a_missing_or_weak_secret_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str | None
) -> None:
    if value is None:
        environment.delenv(f"PEYVAND_{name}")
    else:
        environment.setenv(f"PEYVAND_{name}", value)

    assert f"PEYVAND_{name} must" in refused(capsys)


def test_development_needs_no_secret(environment: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_KEY", "INDEX_KEY", "FINGERPRINT_KEY"):
        environment.delenv(f"PEYVAND_{name}")
    environment.setenv("PEYVAND_ENVIRONMENT", "development")

    assert load(KeySettings).master_key.get_secret_value() == "development"


def test_a_settable_clock_is_refused_outside_development(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("PEYVAND_CLOCK", "/run/clock.json")

    assert "PEYVAND_CLOCK" in refused(capsys)

    environment.setenv("PEYVAND_ENVIRONMENT", "development")
    assert load(KeySettings).clock == Path("/run/clock.json")


def test_every_missing_variable_is_named_at_once(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("KAFKA", "MONGO", "JWKS"):
        environment.delenv(f"PEYVAND_{name}")

    said = refused(capsys)

    assert all(f"PEYVAND_{name}: must be set" in said for name in ("KAFKA", "MONGO", "JWKS"))


def test_a_typing_error_is_named_outside_development(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("PEYVAND_LOG_LEVLE", "debug")

    assert "PEYVAND_LOG_LEVLE" in refused(capsys)

    environment.setenv("PEYVAND_ENVIRONMENT", "development")
    assert load(KeySettings)


def test_no_secret_is_ever_shown(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load(KeySettings)
    assert STRONG not in repr(settings) and "secret-of-mongo" not in repr(settings)

    environment.setenv("PEYVAND_MASTER_KEY", "tooshort-but-mine")
    environment.setenv("PEYVAND_PORT", "many")
    said = refused(capsys)
    assert "tooshort-but-mine" not in said and "secret-of-mongo" not in said and "PEYVAND_PORT" in said


def test_settings_never_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(KeySettings).port = 1


def test_the_table_tells_every_setting() -> None:
    lines = table(KeySettings).splitlines()

    assert len(lines) == 2 + len(KeySettings.model_fields)
    assert all(
        f"`PEYVAND_{name.upper()}`" in line for name, line in zip(KeySettings.model_fields, lines[2:], strict=True)
    )
    assert all(field.description for field in Settings.model_fields.values())
    assert "development" not in next(line for line in lines if "MASTER_KEY" in line).split("|")[2].replace(
        "outside development", ""
    )

"""Passwords in addresses: hidden in whatever is shown, refused in configs."""

import pytest
import yaml
from helpers.configs import changed

from dia.config.config import Config
from dia.errors import ConfigError, DiaError, StorageError
from dia.utils.secrets import check_address, hide_passwords, passwords

SECRET = "s3cr3t"

WITH_PASSWORD = [
    f"http://bob:{SECRET}@127.0.0.1:9/",
    f"https://bob:{SECRET}@host/path?x=1#y",
    f"http://:{SECRET}@host",
    f"http://bob:a@{SECRET}@host",
    f"http://bob:a/{SECRET}?#@host:5000",
    f"postgresql://mlflow:{SECRET}@localhost/mlflow",
    f"postgresql+psycopg2://mlflow:{SECRET}%40x@localhost:5432/mlflow",
    f"postgresql://localhost/mlflow?user=bob&password={SECRET}",
    f"mysql://host/db?ssl_key_password={SECRET}&x=1",
    f"mssql://host/db?PWD={SECRET}",
    f"https://host/?access_token={SECRET}",
    f"foo://bob:{SECRET}@[",
    f"http://bob:{SECRET}{'x' * 200}@host",
]

WITHOUT = [
    "http://127.0.0.1:5000",
    "https://host/path?x=1",
    "postgresql://mlflow@localhost/mlflow",
    "sqlite:///results/a/mlflow.db",
    "databricks://profile",
    "file:///tmp/x",
]


@pytest.mark.parametrize("address", WITH_PASSWORD)
def test_a_password_is_found_and_hidden(address: str) -> None:
    assert any(SECRET in password for password in passwords(address))
    for text in (address, f"cannot reach {address}: refused", f"uri={address!r}", f"{address}\n{address}"):
        assert SECRET not in hide_passwords(text)
        for error in (DiaError(text), ConfigError(text), StorageError(text)):
            assert SECRET not in str(error)
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        check_address(address)


@pytest.mark.parametrize("address", WITHOUT)
def test_an_address_without_a_password_is_left_alone(address: str) -> None:
    assert check_address(address) == hide_passwords(address) == address
    assert Config.load(changed("tracking", value={"uri": address})).tracking.uri == address


@pytest.mark.parametrize("address", WITH_PASSWORD)
def test_a_config_with_a_password_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(
        ConfigError, match=r"tracking\.uri = .*: a password does not belong here.* MLFLOW_TRACKING_URI"
    ) as e:
        Config.load(changed("tracking", value={"uri": address}))
    assert SECRET not in str(e.value)


@pytest.mark.parametrize(
    "tracking",
    [
        "{address}",
        ["{address}"],
        {"uri": ["{address}"]},
        {"uri": {"a": "{address}"}},
        {"url": "{address}"},
        {"uri": None, "experiment": ["{address}"]},
    ],
)
def test_a_password_at_a_wrong_place_is_not_shown_either(tracking: object) -> None:
    for address in WITH_PASSWORD:
        with pytest.raises(ConfigError) as caught:
            Config.load(
                changed("tracking", value=yaml.safe_load(repr(tracking).replace("{address}", address)))
            )
        assert SECRET not in str(caught.value)


def test_given_secrets_are_hidden_wherever_they_stand() -> None:
    assert hide_passwords(f"user bob, {SECRET}!", {SECRET}) == "user bob, ...!"

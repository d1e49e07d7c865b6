"""Addresses that people type: right ones pass, and each wrong one says what was expected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.trust.address import check_address, check_host


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("hub.example.org:9443", "hub.example.org", 9443),
        ("localhost:1", "localhost", 1),
        ("10.0.0.7:65535", "10.0.0.7", 65535),
        ("[::1]:9443", "::1", 9443),
        ("hub_1:9443", "hub_1", 9443),
    ],
)
def test_what_can_be_dialled_passes(text: str, host: str, port: int) -> None:
    assert check_address(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "hub.example.org", "hub.example.org:", ":9443", "hub:0", "hub:99999", "hub:-1", "hub:9443 ", "hub: 9443",
        "::1:9443", "[::1]", "http://hub:9443", "hub/path:9443", "a b:9443", "hub\n:9443", "-hub:9443", "999.1.1.1:1",
        "hüb:9443", "x" * 64 + ":1", ".".join(["abc"] * 70) + ":1", "hub..org:1", "hub.org;x:1", 'hub":1',
        "[hub.example.org]:9443", "[10.0.0.7]:9443", "[fe80::1%eth0]:9443",
    ],
)  # fmt: skip
def test_what_cannot_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected|write"):
        check_address(text)


def test_a_zone_of_one_machine_is_no_host_of_another() -> None:
    with pytest.raises(ConfigError, match="expected"):
        check_host("fe80::1%eth0")


@given(st.text(max_size=40))
def test_no_text_but_a_host_and_a_port_ends_otherwise_than_in_a_message(text: str) -> None:
    try:
        host, port = check_address(text)
    except ConfigError:
        return
    assert check_host(host) == host and 1 <= port <= 65535
    assert all(character.isalnum() or character in "._-:" for character in host)

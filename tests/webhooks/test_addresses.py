"""Which addresses a webhook may call."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from taskqueue.webhooks.addresses import RefusedAddress, is_public, parse_address, resolve

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8", "2002:808:808::1"]
NOT_PUBLIC = [
    "127.0.0.1", "127.8.9.10", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255", "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "2002:7f00:1::1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
]  # fmt: skip
REFUSED = [
    "", "example.com/hook", "http://example.com/", "ftp://example.com/", "https://", "https:///hook",
    "https://user:password@example.com/", "https://example.com/#part", "https://example.com/a b",
    "https://example.com/\r\nX-Injected: 1", "https://example.com:99999/", "https://exämple.com/",
    "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest/meta-data",
    "https://[fe80::1%25eth0]/", "https://example.com/" + "x" * 2000,
]  # fmt: skip
PRIVATE_NAMES = ["https://localhost/", "https://2130706433/", "https://0x7f000001/", "https://127.1/", "https://0/"]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_other_addresses_may_not_be_called(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", REFUSED)
def test_an_invalid_address_is_refused(address):
    with pytest.raises(RefusedAddress):
        parse_address(address, allow_private=False)


@pytest.mark.parametrize("address", PRIVATE_NAMES)
def test_a_name_that_resolves_to_a_private_address_is_refused(address):
    target = parse_address(address, allow_private=False)

    with pytest.raises(RefusedAddress, match="not a public address"):
        resolve(target, allow_private=False)


def test_an_address_is_split_into_what_the_request_needs():
    target = parse_address("https://example.com:8443/hook?token=1", allow_private=False)

    assert (target.host, target.port, target.target) == ("example.com", 8443, "/hook?token=1")
    assert target.authority == "example.com:8443"
    assert parse_address("https://[2606:4700::1]", allow_private=False).authority == "[2606:4700::1]"


def test_a_setting_allows_private_addresses_and_http():
    target = parse_address("http://127.0.0.1:8000/hook", allow_private=True)

    assert resolve(target, allow_private=True) == ["127.0.0.1"]

"""The addresses that may be called: https, and none of a private network (no server-side request forgery)."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

ADDRESS_MAX_LENGTH: Final = 2000
PRINTABLE: Final = re.compile(r"[!-~]+")
HTTPS_PORT: Final = 443
HTTP_PORT: Final = 80


class RefusedAddress(Exception):
    """An address that must not be called."""


@dataclass(frozen=True)
class Target:
    """An address in its parts.

    Attributes:
        host: the name or IP address of the receiver, without brackets.
        target: path and query, as the request line has them.
    """

    host: str
    port: int
    target: str
    is_tls: bool

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (HTTPS_PORT if self.is_tls else HTTP_PORT) else f"{host}:{self.port}"


def parse_address(address: str, *, allow_private: bool) -> Target:
    """The parts of a URL.

    Args:
        allow_private: whether http is allowed too: receivers inside a private network often have no certificate.

    Raises:
        RefusedAddress: with a sentence that says why.
    """
    if len(address) > ADDRESS_MAX_LENGTH or not PRINTABLE.fullmatch(address):
        raise RefusedAddress(f"An address has 1 to {ADDRESS_MAX_LENGTH:,} ASCII characters and no spaces.")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise RefusedAddress(f"The address is not a valid URL: {error}.") from error
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise RefusedAddress("The address must begin with https://.")
    if not host or "%" in host:
        raise RefusedAddress("The address has no valid host.")
    if parts.username is not None or parts.fragment:
        raise RefusedAddress("The address must have neither a user name nor a fragment.")
    is_tls = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    checked = Target(host, port or (HTTPS_PORT if is_tls else HTTP_PORT), target, is_tls)
    if not allow_private and (ip := literal_ip(host)) is not None and not is_public(ip):
        raise RefusedAddress(refusal(host, ip))
    return checked


def resolve(target: Target, *, allow_private: bool) -> list[str]:
    """The IP addresses of a receiver, all of them checked. The connection has to go to one of them.

    Raises:
        RefusedAddress: one of them is not public. A name that has public and private addresses is refused as a whole.
        OSError: the name cannot be resolved.
    """
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[0]) for *_rest, address in found))
    for address in addresses:
        ip = ip_address(address.partition("%")[0])
        if not allow_private and not is_public(ip):
            raise RefusedAddress(refusal(target.host, ip))
    return addresses


def literal_ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_public(ip: IPv4Address | IPv6Address) -> bool:
    """Whether an IP address belongs to the public internet; one with an IPv4 address inside counts as that one."""
    if isinstance(ip, IPv6Address):
        if (inner := ip.ipv4_mapped or ip.sixtofour) is not None:
            return is_public(inner)
        if ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)


def refusal(host: str, ip: IPv4Address | IPv6Address) -> str:
    name = str(ip) if host == str(ip) else f"{host} ({ip})"
    return f"{name} is not a public address (setting WEBHOOKS_ALLOW_PRIVATE)."

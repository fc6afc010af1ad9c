"""`manage.py token`: create, list and revoke bearer tokens without the admin."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from taskqueue.engine.actions import tokens
from taskqueue.models import Token

UNITS: Final = {"d": "days", "h": "hours", "m": "minutes"}
MAX_LIFETIME: Final = timedelta(days=3650)


class Command(BaseCommand):
    help = "Creates a bearer token for the API and prints its secret, which is not stored; lists and revokes tokens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        subcommands = parser.add_subparsers(dest="subcommand", required=True)
        create = subcommands.add_parser("create", help="create a token and print its secret on a line of its own")
        create.add_argument("name", help="what the token is for")
        create.add_argument("--user", required=True, help="the user whose permissions it has")
        create.add_argument("--expires", default="90d", help="lifetime: 90d, 12h, 30m or never (default: 90d)")
        create.add_argument("--per-minute", type=int, help="requests per minute (default: no limit)")
        subcommands.add_parser("list", help="list all tokens")
        revoke = subcommands.add_parser("revoke", help="revoke a token")
        revoke.add_argument("id", type=int, help="its id in the list")

    def handle(self, *args: Any, **options: Any) -> None:
        match options["subcommand"]:
            case "create":
                self.create(options)
            case "list":
                for token in Token.objects.select_related("user").order_by("pk"):
                    self.stdout.write(token_line(token))
            case _:
                if not tokens.revoke(options["id"]):
                    raise CommandError(f"There is no valid token {options['id']}.")
                self.stderr.write(f"Token {options['id']} is revoked.")

    def create(self, options: dict[str, Any]) -> None:
        """Create a token. Only its secret goes to stdout, for scripts."""
        users = get_user_model()
        user = users._default_manager.filter(**{users.USERNAME_FIELD: options["user"]}).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        if not 0 < len(options["name"]) <= 100:
            raise CommandError("A token's name has 1 to 100 characters.")
        per_minute = options["per_minute"]
        if per_minute is not None and per_minute < 1:
            raise CommandError("--per-minute must be 1 or more.")
        lifetime = lifetime_of(options["expires"])
        token, secret = tokens.issue(user, name=options["name"], expires_in=lifetime, per_minute=per_minute)
        self.stderr.write(f"Token {token.pk}, {validity_of(token)}. Its secret is shown only once:")
        self.stdout.write(secret)
        self.stderr.write(permissions_of(user))


def permissions_of(user: Any) -> str:
    """A sentence with the permissions of the user's tokens, or a warning with a command that grants some."""
    name = user.get_username()
    if user.is_superuser:
        return f"As {name} it has every permission (superuser)."
    if permissions := sorted(each for each in user.get_all_permissions() if each.startswith("taskqueue.")):
        return f"As {name} it has these permissions: {', '.join(permissions)}."
    code = (
        "from django.contrib.auth import get_user_model; from django.contrib.auth.models import Permission; "
        f"get_user_model().objects.get_by_natural_key({name!r}).user_permissions.add(*Permission.objects.filter("
        "content_type__app_label='taskqueue', codename__in=['view_task', 'add_task']))"
    )
    return (
        f"Warning: {name} has no permission of taskqueue, so every call is answered 403. This command lets it view "
        "and submit tasks; docs/access.md lists the other permissions, and the admin grants them too:\n"
        f"python manage.py shell -c {shlex.quote(code)}"
    )


def lifetime_of(text: str) -> timedelta | None:
    """The lifetime of a token; None for ever.

    Raises:
        CommandError: the text is not a duration.
    """
    if text == "never":
        return None
    if found := re.fullmatch(r"([1-9][0-9]{0,8})([dhm])", text, flags=re.ASCII):
        lifetime = timedelta(**{UNITS[found[2]]: int(found[1])})
        if lifetime <= MAX_LIFETIME:
            return lifetime
    raise CommandError(f"--expires must be a duration such as 90d, 12h or never, of at most ten years, not {text!r}.")


def token_line(token: Token) -> str:
    used = f"last used {token.last_used_at:%Y-%m-%d}" if token.last_used_at else "never used"
    return f"{token.pk}\t{token.name}\t{token.prefix}…\t{token.user}\t{validity_of(token)}\t{used}"


def validity_of(token: Token) -> str:
    if token.revoked_at is not None:
        return f"revoked {token.revoked_at:%Y-%m-%d}"
    return "never expires" if token.expires_at is None else f"valid until {token.expires_at:%Y-%m-%d %H:%M} UTC"

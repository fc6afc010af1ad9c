"""`manage.py token`: bearer tokens for scripts, made, listed and revoked without the admin."""

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
LONGEST: Final = timedelta(days=3650)


class Command(BaseCommand):
    """Make, list and revoke tokens."""

    help = "Makes a bearer token for the API and prints its secret, which is not kept; lists and revokes tokens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the three deeds."""
        deeds = parser.add_subparsers(dest="deed", required=True)
        create = deeds.add_parser("create", help="make one, and print its secret alone on a line")
        create.add_argument("name", help="what it is for")
        create.add_argument("--user", required=True, help="the user as whom it calls")
        create.add_argument("--expires", default="90d", help="for how long: 90d, 12h, 30m or never (90d)")
        create.add_argument("--per-minute", type=int, help="requests in a minute (any number)")
        deeds.add_parser("list", help="tell of all tokens")
        revoke = deeds.add_parser("revoke", help="let one be valid no longer")
        revoke.add_argument("id", type=int, help="its number in the list")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do one of them."""
        match options["deed"]:
            case "create":
                self.create(options)
            case "list":
                for token in Token.objects.select_related("user").order_by("pk"):
                    self.stdout.write(described(token))
            case _:
                if not tokens.revoke(options["id"]):
                    raise CommandError(f"There is no token {options['id']} that could be revoked.")
                self.stderr.write(f"Token {options['id']} is revoked.")

    def create(self, options: dict[str, Any]) -> None:
        """Make one. Only the secret goes to stdout, so that a script can take it from there."""
        users = get_user_model()
        user = users._default_manager.filter(**{users.USERNAME_FIELD: options["user"]}).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        if not 0 < len(options["name"]) <= 100:
            raise CommandError("A token's name has 1 to 100 characters.")
        per_minute = options["per_minute"]
        if per_minute is not None and per_minute < 1:
            raise CommandError("--per-minute must be 1 or more.")
        length = length_of(options["expires"])
        token, secret = tokens.issue(user, name=options["name"], expires_in=length, per_minute=per_minute)
        self.stderr.write(f"Token {token.pk}, {ending_of(token)}. Its secret is shown this once:")
        self.stdout.write(secret)
        self.stderr.write(permissions_of(user))


def permissions_of(user: Any) -> str:
    """What the user's tokens may do, in a sentence; if that is nothing, a warning with the command that changes it."""
    name = user.get_username()
    if user.is_superuser:
        return f"As {name} it has every permission (superuser)."
    if held := sorted(each for each in user.get_all_permissions() if each.startswith("taskqueue.")):
        return f"As {name} it has these permissions: {', '.join(held)}."
    code = (
        "from django.contrib.auth import get_user_model; from django.contrib.auth.models import Permission; "
        f"get_user_model().objects.get_by_natural_key({name!r}).user_permissions.add(*Permission.objects.filter("
        "content_type__app_label='taskqueue', codename__in=['view_task', 'add_task']))"
    )
    return (
        f"Warning: {name} has no permission of taskqueue, so that each call is answered 403. This line lets it view "
        "and submit tasks; docs/access.md has the others, and the admin gives them too:\n"
        f"python manage.py shell -c {shlex.quote(code)}"
    )


def length_of(text: str) -> timedelta | None:
    """For how long a token shall be valid.

    Raises:
        CommandError: it is no length of time.
    """
    if text == "never":
        return None
    if found := re.fullmatch(r"([1-9][0-9]{0,8})([dhm])", text, flags=re.ASCII):
        length = timedelta(**{UNITS[found[2]]: int(found[1])})
        if length <= LONGEST:
            return length
    raise CommandError(f"--expires must be a length of time of at most ten years, as 90d, 12h or never, not {text!r}.")


def described(token: Token) -> str:
    """A token on one line."""
    used = f"last used {token.last_used_at:%Y-%m-%d}" if token.last_used_at else "never used"
    return f"{token.pk}\t{token.name}\t{token.prefix}…\t{token.user}\t{ending_of(token)}\t{used}"


def ending_of(token: Token) -> str:
    """Until when it is valid."""
    if token.revoked_at is not None:
        return f"revoked {token.revoked_at:%Y-%m-%d}"
    return "never expires" if token.expires_at is None else f"valid until {token.expires_at:%Y-%m-%d %H:%M} UTC"

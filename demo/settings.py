"""Settings of the demo project, read from the environment; docs/settings.md lists them.

Without DATABASE_URL this is the local quickstart: embedded PostgreSQL, DEBUG on, reachable from this machine only.
With DATABASE_URL it is a deployment: DEBUG is off unless asked for, and SECRET_KEY must be given.
"""

from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from taskqueue.defaults import APPS

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
DATABASE_URL: str = env.str("DATABASE_URL", default="")
DEBUG: bool = env.bool("DEBUG", default=not DATABASE_URL)


def secret_key() -> str:
    """Return the environment's SECRET_KEY, or in DEBUG a fixed key, which is public."""
    fixed = "development-only-key-that-protects-nothing-outside-this-machine"
    key: str = env.str("SECRET_KEY", default=fixed if DEBUG else "")
    if DEBUG or key not in {"", fixed}:
        return key or fixed
    raise ImproperlyConfigured(
        "SECRET_KEY is not set, or is the public development key, and DEBUG is off. "
        "Set SECRET_KEY to a long random text "
        "(python -c 'import secrets; print(secrets.token_urlsafe(50))'), the same for web and workers."
    )


def database() -> dict[str, Any]:
    """Return the server of DATABASE_URL, or the embedded PostgreSQL of this project."""
    if DATABASE_URL:
        if not DATABASE_URL.startswith(("postgres://", "postgresql://", "pgsql://")):
            raise ImproperlyConfigured(
                "DATABASE_URL must name a PostgreSQL database: postgres://user:password@host:5432/name. "
                "Without DATABASE_URL the project runs its own embedded PostgreSQL."
            )
        server: dict[str, Any] = env.db_url("DATABASE_URL")
        return server
    return {
        "ENGINE": "taskqueue.embedded",
        "NAME": "taskqueue",
        "EMBEDDED": {"data_dir": env.str("TASKQUEUE_DATA_DIR", default="")},
        # There is no pooler in between, so taskqueue may prepare its statements in the web processes too.
        "OPTIONS": {"prepare_threshold": 1_000_000_000},
    }


SECRET_KEY = secret_key()
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=[])
if DEBUG:
    ALLOWED_HOSTS += ["localhost", ".localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "taskqueue.dashboard.DashboardConfig",  # django.contrib.admin with the overview as its first page
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *APPS,
    "demo",
]

MIDDLEWARE = [
    "taskqueue.logs.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "demo.content_security_policy.ContentSecurityPolicy",
    "demo.static_files.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "taskqueue.live.LiveRegions",
]

ROOT_URLCONF = "demo.urls"
CSRF_FAILURE_VIEW = "demo.pages.csrf_failure"
WSGI_APPLICATION = "demo.wsgi.application"
ASGI_APPLICATION = "demo.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Connections stay open; taskqueue checks each one before its use.
DATABASES = {
    "default": {
        **database(),
        "ATOMIC_REQUESTS": False,
        "CONN_MAX_AGE": None,
    },
}
WORKER_DATABASE_URL: str = env.str("WORKER_DATABASE_URL", default="")
if WORKER_DATABASE_URL:
    DATABASES["worker"] = {**env.db_url("WORKER_DATABASE_URL"), "TEST": {"MIRROR": "default"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

# The path below which a proxy serves the project. The proxy removes it before it passes a request on.
URL_PREFIX: str = env.str("URL_PREFIX", default="").strip("/")
FORCE_SCRIPT_NAME = f"/{URL_PREFIX}" if URL_PREFIX else None
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = f"/{URL_PREFIX}"
STATIC_URL = f"{FORCE_SCRIPT_NAME or ''}/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
# In DEBUG files are served from their apps, without collectstatic.
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG

# Without EMAIL_URL Django's default stays: an SMTP server on this machine.
EMAIL_URL: str = env.str("EMAIL_URL", default="")
if EMAIL_URL:
    vars().update(env.email_url("EMAIL_URL"))
DEFAULT_FROM_EMAIL: str = env.str("DEFAULT_FROM_EMAIL", default="webmaster@localhost")

TASKQUEUE: dict[str, Any] = {
    "EXAMPLE_PIPELINE": "demo/task",
    "ADMIN_URL": env.str("ADMIN_URL", default=""),
    "PUBLIC_URL": env.str("PUBLIC_URL", default=""),
    "WORKER_DATABASE": "worker" if WORKER_DATABASE_URL else "",
}

WORKERS: int = env.int("WORKERS", default=2)
# The rest comes from taskqueue.defaults.
Q_CLUSTER = {"workers": WORKERS}

# HTTPS=false is for a service behind plain HTTP, such as docker compose on one machine.
HTTPS: bool = env.bool("HTTPS", default=not DEBUG)
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(.+/)?api/health/"]
SECURE_HSTS_SECONDS: int = env.int("HSTS_SECONDS", default=3600 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = env.bool("HSTS_WHOLE_DOMAIN", default=False)
# Only the owner of the domain knows whether its sub-domains use HTTPS too, and sets HSTS_WHOLE_DOMAIN.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Only behind a proxy that always sets this header itself: otherwise a caller could forge it.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_PROXY", default=False) else None

LOG_FORMAT: str = env.str("LOG_FORMAT", default="line")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {"()": "taskqueue.logs.JsonFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO").upper()},
    "loggers": {
        "django": {"handlers": []},  # otherwise each line comes twice: Django's own handler is added to the root's
        # In text the web server's ACCESS_LOG has a line for each request.
        "taskqueue.requests": {"level": "INFO" if LOG_FORMAT == "json" else "WARNING"},
        "django-q": {"level": "WARNING"},  # it logs the start and end of each process
    },
}

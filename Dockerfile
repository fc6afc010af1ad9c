# One image for web, workers and migrations; docker-compose.yml names the command of each.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DEBUG=false \
    BIND=0.0.0.0:8000 \
    ACCESS_LOG=-

RUN useradd --system --uid 10001 --user-group --create-home --home-dir /app app
WORKDIR /app

# Exactly these versions; pip refuses a package with another hash.
COPY requirements.lock /build/
RUN pip install --no-cache-dir --require-hashes --requirement /build/requirements.lock
COPY pyproject.toml README.md LICENSE /build/
COPY taskqueue /build/taskqueue
COPY templates /build/templates
RUN pip install --no-cache-dir --no-deps --no-build-isolation /build

COPY manage.py gunicorn.conf.py ./
COPY demo ./demo
# collectstatic reads the settings, which require both variables; neither stays in the image.
RUN SECRET_KEY=unused DATABASE_URL=postgres://unused python manage.py collectstatic --no-input

# A number, so that an orchestrator can see that it is not root. The process writes only below /tmp.
USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "demo.wsgi"]

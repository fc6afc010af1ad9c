# One image for web, workers and migrations; docker-compose.yml names the command of each.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DEBUG=false

RUN useradd --system --create-home --home-dir /app app
WORKDIR /app

COPY pyproject.toml README.md LICENSE /build/
COPY taskqueue /build/taskqueue
COPY templates /build/templates
RUN pip install --no-cache-dir "/build[service]"

COPY manage.py ./
COPY demo ./demo
# collectstatic reads the settings, which want both of these; neither stays in the image.
RUN SECRET_KEY=unused DATABASE_URL=postgres://unused python manage.py collectstatic --no-input

USER app
EXPOSE 8000
CMD ["gunicorn", "demo.wsgi:application", "--bind", "0.0.0.0:8000", "--workers", "2", "--threads", "8", "--access-logfile", "-"]

# One image for web, worker, beat and migrations. docker-compose.yml has the command of each.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/groundswell
COPY requirements.txt .
RUN /opt/groundswell/bin/pip install --require-hashes --no-deps -r requirements.txt

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /srv/groundswell --shell /usr/sbin/nologin groundswell
COPY --from=build /opt/groundswell /opt/groundswell
ENV PATH=/opt/groundswell/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=config.settings NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /srv/groundswell
COPY manage.py pyproject.toml ./
COPY config config
COPY recommender recommender
COPY monitoring monitoring
# The learning code is compiled for the processor it runs on, so not here. The service `compile` of docker-compose.yml
# compiles it into a volume on /var/cache/groundswell.
# collectstatic reads no database and signs nothing. It only demands these two values, which never leave this line.
RUN DATABASE_URL=postgres://nowhere/none SECRET_KEY=collectstatic-needs-a-value-and-does-not-use-it \
    python manage.py collectstatic --noinput && \
    python -m compileall -q config recommender monitoring && \
    install --directory --owner=groundswell /var/cache/groundswell
USER groundswell
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["granian", "--interface", "wsgi", "--workers", "2", "--blocking-threads", "4", "--no-ws", \
     "--respawn-failed-workers", "--host", "0.0.0.0", "--port", "8000", "config.wsgi:application"]

# Two images: `web` serves lists and takes events, `learner` is the same with the extra `learn`.
# docker-compose.yml has the image and the command of each process.
FROM python:3.11-slim-bookworm AS wheel
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY config/builder.txt config/builder.txt
RUN pip install --require-hashes --no-deps -r config/builder.txt
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY monitoring monitoring
COPY recommender recommender
RUN python -m hatchling build -t wheel -d /wheel

FROM python:3.11-slim-bookworm AS installed
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/groundswell
COPY requirements-web.txt .
RUN /opt/groundswell/bin/pip install --require-hashes --no-deps -r requirements-web.txt
COPY --from=wheel /wheel /wheel
RUN /opt/groundswell/bin/pip install --no-index --no-deps /wheel/*.whl

# This stage builds on `installed`, so both images have the same files with the same times. Numba keeps compiled code
# for a file and its time, and both images share that code.
FROM installed AS installed-learner
COPY requirements-learn.txt .
RUN /opt/groundswell/bin/pip install --require-hashes --no-deps -r requirements-learn.txt

FROM python:3.11-slim-bookworm AS base
RUN useradd --system --uid 10001 --home-dir /srv/groundswell --shell /usr/sbin/nologin groundswell && \
    install --directory --owner=groundswell /var/cache/groundswell && \
    install --directory /srv/groundswell
ENV PATH=/opt/groundswell/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=config.settings GROUNDSWELL_HOME=/srv/groundswell \
    NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /srv/groundswell
STOPSIGNAL SIGTERM

FROM base AS learner
COPY --from=installed-learner /opt/groundswell /opt/groundswell
USER groundswell
# The learning code is compiled for the processor it runs on, so not here. The service `compile` of docker-compose.yml
# compiles it into a volume on /var/cache/groundswell.
CMD ["celery", "--app=config.celery", "worker", "--queues=learn-0", "--pool=solo", \
     "--without-gossip", "--without-mingle", "--loglevel=INFO"]

# `docker build .` without a target builds this last image.
FROM base AS web
COPY --from=installed /opt/groundswell /opt/groundswell
# collectstatic reads no database and signs nothing. It only demands these two values, which never leave this line.
RUN DATABASE_URL=postgres://nowhere/none SECRET_KEY=collectstatic-needs-a-value-and-does-not-use-it \
    groundswell collectstatic --noinput
USER groundswell
EXPOSE 8000
CMD ["granian", "--interface", "wsgi", "--workers", "2", "--blocking-threads", "4", "--no-ws", \
     "--respawn-failed-workers", "--host", "0.0.0.0", "--port", "8000", "config.wsgi:application"]

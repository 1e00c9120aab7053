# One image for every part: `api`, `worker`, `flower`, `mock` and the commands for jobs (see docs/docker.md).

# By digest: docker build --build-arg BASE=... with PYTHON_IMAGE of deploy/images.env
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
# The environment gets no pip of its own; the base image's pip fills it, from the lock alone.
RUN python -m venv --without-pip /opt/roadbalancer
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# With OpenTelemetry, which redis-py loads at every start where it finds it: --build-arg LOCK=requirements-otel.lock
ARG LOCK=requirements.lock
COPY ${LOCK} ./
RUN python -m pip --python /opt/roadbalancer/bin/python install --require-hashes --no-deps -r ${LOCK}
COPY . ./
RUN python -m pip --python /opt/roadbalancer/bin/python install --no-deps --no-build-isolation .

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="roadbalancer" \
      org.opencontainers.image.description="Bulk LLM generation over a fleet of endpoints: queue-backed, crash-safe, OpenAI-compatible." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Fixed ids, so that files on a shared volume belong to the same user on every host.
RUN groupadd --gid 10001 roadbalancer \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin roadbalancer \
 && install -d -o roadbalancer -g roadbalancer /data /access
COPY --from=build /opt/roadbalancer /opt/roadbalancer
ENV PATH=/opt/roadbalancer/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /data
STOPSIGNAL SIGTERM
ENTRYPOINT ["roadbalancer"]
CMD ["--help"]

# Minimal image of the exporter: Python, the libraries that it links to, and no shell.
#   docker build -t cognito-device-exporter .                  for production
#   docker build -t cognito-device-exporter --target demo .    with the bundled Cognito emulator
# docs/container.md describes how to run it, pin the base by digest, and build with your own package index.
#
# checkov:skip=CKV_DOCKER_7: the tag of the base image is in a build argument, which checkov does not resolve
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_REQUIRE_HASHES=1
# Two environments: one for the build, with pip, and one for the image, without.
RUN python3 -m venv /build/venv \
 && python3 -m venv --without-pip /opt/cognito-device-exporter


# Packages of the program.
FROM builder AS dependencies
COPY requirements.lock tools/trim_botocore.py /build/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /build/venv/bin/pip --python /opt/cognito-device-exporter/bin/python install --no-compile --no-deps -r /build/requirements.lock \
 && /build/venv/bin/pip --python /opt/cognito-device-exporter/bin/python check \
 && /build/venv/bin/python /build/trim_botocore.py /opt/cognito-device-exporter/lib/python3.*/site-packages \
 && /build/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/cognito-device-exporter/lib


# Additional packages of the demo.
FROM dependencies AS demo-dependencies
COPY requirements-demo.lock /build/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /build/venv/bin/pip --python /opt/cognito-device-exporter/bin/python install --no-compile --no-deps -r /build/requirements-demo.lock \
 && /build/venv/bin/pip --python /opt/cognito-device-exporter/bin/python check \
 && /build/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/cognito-device-exporter/lib


# The program: a wheel, installed separately from its packages.
FROM builder AS program
COPY requirements-build.lock /build/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /build/venv/bin/pip install --no-deps -r /build/requirements-build.lock \
 && /build/venv/bin/pip check
WORKDIR /build/source
COPY . .
ARG REVISION=
RUN BUILD_REVISION="${REVISION}" /build/venv/bin/hatchling build -t wheel -d /build/dist \
 && PIP_REQUIRE_HASHES=0 /build/venv/bin/pip --python /opt/cognito-device-exporter/bin/python install \
        --no-compile --no-deps --no-index --root /build/image /build/dist/*.whl \
 && /build/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash -s /build/image /build/image \
 && mkdir -p /build/image/etc/cognito-device-exporter \
 && install -d -m 0750 /build/state/cognito-device-exporter


# The base image without unneeded files, and with the user of the program.
FROM ${PYTHON_IMAGE} AS root
RUN echo 'exporter:x:65532:65532::/nonexistent:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'exporter:x:65532:' >>/etc/group
COPY tools/slim_root.py /build/
COPY --from=dependencies /opt/cognito-device-exporter/lib /build/lib
RUN ["python3", "/build/slim_root.py", "/build"]


FROM scratch AS production
# The layers are ordered by how often they change: a new version of the program changes only the last one.
# The root file system contains only what is run, so it is copied as a whole.
# hadolint ignore=DL3067
COPY --from=root / /
COPY --from=dependencies /opt/cognito-device-exporter /opt/cognito-device-exporter
COPY --from=program /build/image /
# A new named volume takes over owner and mode.
COPY --from=program --chown=65532:65532 /build/state /var/lib

ENV PATH=/opt/cognito-device-exporter/bin \
    LANG=C.UTF-8 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PYTHONDONTWRITEBYTECODE=1 \
    COGNITO_DEVICE_EXPORTER_CONFIG_FILE=/etc/cognito-device-exporter/config.yaml
WORKDIR /var/lib/cognito-device-exporter
USER 65532:65532
EXPOSE 10617
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=15s --retries=3 \
    CMD ["cognito-device-exporter", "healthcheck"]
ENTRYPOINT ["cognito-device-exporter"]

ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
ARG SOURCE=
LABEL org.opencontainers.image.title="cognito-device-exporter" \
      org.opencontainers.image.description="Prometheus exporter for the remembered devices of Amazon Cognito user pools" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"


FROM production AS demo
COPY --from=demo-dependencies /opt/cognito-device-exporter /opt/cognito-device-exporter
LABEL org.opencontainers.image.title="cognito-device-exporter-demo"
CMD ["demo"]


# Default target.
FROM production

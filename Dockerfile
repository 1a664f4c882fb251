# One image for pods and Beam workers: Debian 13 (glibc 2.41), its Python 3.13, and the official TFX 1.21 stack from the
# committed lock. docs/decisions/0010-one-image.md has the reasons; deploy/check_image.py runs these very steps in a
# Debian 13 root where there is no Docker engine.
ARG DEBIAN=debian:trixie-slim

# The dependencies, apart from the code: this stage changes only with the lock. pyfarmhash and rouge-score have no wheels
# and need a compiler; it stays here. What no run needs goes: the tools of dev.in, libclang (TensorFlow asks for it and
# never loads it), C headers, the libraries' own tests. Bytecode is compiled here once, since the image's user cannot write
# it: every pod would compile for minutes. Templates among the libraries are no Python; that they do not compile is no error.
FROM ${DEBIAN} AS dependencies
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates g++ python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements/requirements.lock requirements/dev.in requirements/
RUN python3 -m venv /opt/hivemill \
 && /opt/hivemill/bin/pip install --no-cache-dir --no-compile --no-deps --require-hashes -r requirements/requirements.lock \
 && grep -v '^-r' requirements/dev.in > requirements/dev-only.txt \
 && /opt/hivemill/bin/pip uninstall --quiet --yes -r requirements/dev-only.txt libclang
RUN cd /opt/hivemill/lib/python3*/site-packages \
 && rm -rf tensorflow/include pyarrow/include pyarrow/tests pyarrow/src \
 && for package in numpy pandas scipy sklearn; do find "$package" -depth -type d -name tests -exec rm -rf {} +; done \
 && { /opt/hivemill/bin/python -W ignore -m compileall -qq -j 0 . || true; }

# The project itself.
FROM dependencies AS build
COPY setup.py pyproject.toml VERSION README.md ./
COPY common common
COPY components components
COPY data data
COPY pipeline pipeline
COPY schema schema
COPY serving serving
COPY src src
RUN /opt/hivemill/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/hivemill/bin/pip uninstall --quiet --yes pip

FROM ${DEBIAN}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libgomp1 python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /usr/share/doc/* /usr/share/man/* \
 && useradd --uid 10001 --user-group --create-home hivemill
COPY --from=build /opt/hivemill /opt/hivemill
# `python` must be the image's own for Beam's worker pool, which starts it by name.
ENV PATH=/opt/hivemill/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="Hivemill" \
      org.opencontainers.image.description="Turns a partitioned Hive click log into a served DeepFM click model" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
WORKDIR /home/hivemill
ENTRYPOINT ["hivemill"]
CMD ["--help"]

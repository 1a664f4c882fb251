# The project's image as Dataflow's workers start it: with Beam's boot program in front.
#   docker build -f deploy/beam/dataflow.Dockerfile --build-arg HIVEMILL=REGISTRY/hivemill:TAG -t REGISTRY/hivemill-dataflow:TAG .
# The boot program is that of the lock's version of Beam, for the image's Python (both checked by a test).
ARG HIVEMILL=hivemill
ARG BEAM=apache/beam_python3.13_sdk:2.77.0
FROM ${BEAM} AS beam
FROM ${HIVEMILL}
COPY --from=beam /opt/apache/beam /opt/apache/beam
# No environment of its own for each worker, which boot would make with venv: the image's Python has everything.
# TF_USE_LEGACY_KERAS is what hivemill.common.runtime sets in the processes that the project starts itself.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    TF_USE_LEGACY_KERAS=1
# Dataflow mounts folders of the virtual machine, which belong to root.
USER root
ENTRYPOINT ["/opt/apache/beam/boot"]

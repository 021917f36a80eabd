# walletq's processes and commands:
#
#     docker build --tag walletq .
#     docker run --rm walletq --help
#
# Needs no write access to its file system; `walletq replay` and `verify` want a /tmp.

ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
# What rarely changes comes first. Every package is pinned by its hash; what has no wheel is built with pinned tools.
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN pip install --no-cache-dir --root-user-action=ignore --require-hashes --requirement requirements/build.txt \
 && python -m venv --without-pip /opt/walletq \
 && pip wheel --no-cache-dir --require-hashes --no-build-isolation --wheel-dir wheels --requirement requirements/runtime.txt \
 && pip --python /opt/walletq install --no-index --no-deps wheels/*.whl
COPY . .
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/walletq install --no-index --no-deps dist/*.whl

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/walletq /opt/walletq
# A port for /livez, /readyz, /progress and /metrics: whoever runs a container decides who reaches it.
ENV PATH=/opt/walletq/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    WALLETQ_HTTP_HOST=0.0.0.0 \
    WALLETQ_HTTP_PORT=8080
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /tmp
# urlopen raises, and so ends with 1, for any answer but 200.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os; from urllib.request import urlopen; urlopen(f'http://127.0.0.1:{os.environ[\"WALLETQ_HTTP_PORT\"]}/livez', timeout=4)"]
ENTRYPOINT ["walletq"]
CMD ["--help"]

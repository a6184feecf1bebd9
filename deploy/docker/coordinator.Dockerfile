# The coordinator in a container: the one file, unpacked and compiled beforehand.
#
#   docker build -f deploy/docker/coordinator.Dockerfile -t hypernode-coordinator .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges \
#       -e HYPERNODE_DOMAIN=hyper.example:3001 -v hypernode:/data -p 3001:3001 hypernode-coordinator
#
# It writes to /data and nowhere else. HYPERNODE_DOMAIN is what wallets are shown: the name and port
# that people dial (localhost:3001 without it). Settings are variables or a mounted
# file (`… coordinator --config /etc/hypernode.toml …`). A drain takes up to 30 s: stop it with
# `docker stop -t 40`. It is its own first process: it has no children and answers SIGTERM itself.

FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
COPY requirements/build.txt requirements/coordinator.txt requirements/
RUN python -m venv /build \
    && /build/bin/pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: \
        -r requirements/build.txt
COPY pyproject.toml README.md ./
COPY agent agent
COPY coordinator coordinator
COPY hypernode hypernode
COPY onchain onchain
COPY deploy/pyz deploy/pyz
RUN /build/bin/python deploy/pyz/build.py /hypernode

FROM python:3.11.13-slim-bookworm
ENV SHIV_ROOT=/opt/hypernode PYTHONUNBUFFERED=1
COPY --from=build /hypernode /usr/local/bin/hypernode
# Root's, and readable: the service runs what it cannot change.
RUN hypernode --version \
    && python -m compileall -q -j 0 /opt/hypernode \
    && chmod -R a+rX,go-w /opt/hypernode \
    && useradd --system --uid 10001 --home-dir /data --create-home hypernode
ENV PYTHONDONTWRITEBYTECODE=1
VOLUME /data
WORKDIR /data
USER 10001:10001
EXPOSE 3001
# Ready, not only alive; by https where HYPERNODE_TLS_CERT is set, whatever name the certificate has.
# A coordinator with TLS by a file of settings needs compose.yml's `healthcheck`, or --health-cmd.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as u; s = 's' if os.getenv('HYPERNODE_TLS_CERT') else ''; c = ssl._create_unverified_context() if s else None; u.urlopen(f'http{s}://127.0.0.1:3001/readyz', timeout=4, context=c)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["hypernode"]
CMD ["coordinator", "--host", "0.0.0.0", "--port", "3001", "--db", "/data/coordinator.db", "--log-json"]

# An agent in a container, with CUDA. Read first what it needs: a service of systemd needs less.
#
#   docker build -f deploy/docker/agent.Dockerfile -t hypernode-agent .
#   docker run --gpus all --cap-drop ALL --security-opt no-new-privileges \
#       --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
#       --security-opt systempaths=unconfined \
#       -e HYPERNODE_URL=https://hyper.example -v ./token:/run/secrets/token:ro \
#       -v hypernode-agent:/state hypernode-agent
#
# The sandbox in the container. Jobs of strangers run in bubblewrap, which makes namespaces and mounts
# as an ordinary user. Docker forbids that three times: its filter of system calls, its AppArmor
# profile, and its masks over /proc. The three options above lift Docker's walls for the agent; the
# agent stays without privilege (no capability, no new ones, not root), and each job is inside the
# sandbox's own walls. Without the options the agent's self-test says that there is no sandbox
# (level 0): it runs our own kinds for those who accept that, and no stranger's command or kernel.
# With them the level is 1: control groups in a container are read-only, so that the memory of a whole
# job is bounded only by the container's own `--memory`.
# The driver comes from the host, by the NVIDIA Container Toolkit (use 1.17.8 or newer: older ones let
# an image escape, CVE-2025-23266). CUDA 13 needs a driver of 580 or newer.

FROM nvidia/cuda:13.0.1-base-ubuntu24.04 AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements/cuda.txt requirements/
RUN python3 -m venv /opt/hypernode/agent \
    && /opt/hypernode/agent/bin/pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: \
        -r requirements/cuda.txt
COPY pyproject.toml README.md ./
COPY agent agent
COPY coordinator coordinator
COPY hypernode hypernode
COPY onchain onchain
RUN /opt/hypernode/agent/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM nvidia/cuda:13.0.1-base-ubuntu24.04
# tini: jails end below the first process, and somebody must take them off the list.
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap python3 tini util-linux \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10002 --home-dir /state --create-home hypernode
# Root's, and readable: jails read it, and nobody changes it.
COPY --from=build /opt/hypernode/agent /opt/hypernode/agent
ENV PATH=/opt/hypernode/agent/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HYPERNODE_STATE_DIR=/state \
    HYPERNODE_TOKEN_FILE=/run/secrets/token \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME /state
WORKDIR /state
USER 10002:10002
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "hypernode"]
CMD ["agent", "--log-json"]

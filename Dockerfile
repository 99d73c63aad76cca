# Image of agent and controller (amd64 and arm64): the program and the libraries that it is linked to, with labels and
# licences. `e2e/cluster/cluster.sh pack` makes the same without a container engine. `make image` builds the image.
#
# The builder's image has no default, so that nothing is built from a tag that somebody can move: scripts/pin-images.sh
# writes it to images.lock, by its digest, and `make image` hands it over.
ARG RUST_IMAGE

# On the builder's own architecture: cross-compiling takes minutes, and emulation an hour.
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS build
ARG TARGETARCH
WORKDIR /src
RUN apt-get update \
    && apt-get install --yes --no-install-recommends clang llvm libbpf-dev binutils \
        gcc-x86-64-linux-gnu libc6-dev-amd64-cross gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
    && rm -rf /var/lib/apt/lists/*
# A layer of its own: the toolchain changes less often than the sources.
COPY rust-toolchain.toml ./
COPY scripts/image-root.sh scripts/
RUN rustup target add "$(scripts/image-root.sh target "$TARGETARCH")"
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=traffictrace-target-$TARGETARCH \
    scripts/image-root.sh build "$TARGETARCH" /image

FROM scratch
ARG VERSION
ARG REVISION
ARG CREATED
ARG SOURCE
LABEL org.opencontainers.image.title="TrafficTrace" \
      org.opencontainers.image.description="Which pod, which process uses the network, talking to whom: agent and controller" \
      org.opencontainers.image.licenses="Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=build /image /
COPY LICENSE target/licenses/traffictrace.txt /licenses/
# No USER: added capabilities take effect for root only, so the agent runs as root; the chart sets the controller's
# user.
WORKDIR /
ENTRYPOINT ["/traffictrace"]

# How does the image come about? Its dependencies, its binary, and then nothing but the binary.
#
#   docker build -t outrigger .                                   the sidecar: no shell, no package manager, user 2102
#   docker build -t outrigger-intercept --target intercept .      with nft, for the init container that redirects traffic
#
# The policy is mounted at /etc/outrigger. Nothing is ever written, so the root filesystem may be read-only:
#
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -v "$PWD/policy:/etc/outrigger:ro" outrigger

# Made again only when a manifest changes: all that is compiled here is what others wrote.
FROM rust:1.95-bookworm AS dependencies
ENV CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=symbols
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY config/Cargo.toml config/
COPY proxy/Cargo.toml proxy/
RUN mkdir config/src proxy/src && touch config/src/lib.rs proxy/src/lib.rs && echo 'fn main() {}' > proxy/src/main.rs \
    && cargo build --release --locked

FROM dependencies AS build
COPY config config
COPY proxy proxy
# Cargo goes by times, and the sources are older than what stood in for them.
RUN touch config/src/lib.rs proxy/src/lib.rs proxy/src/main.rs && cargo build --release --locked --bin outrigger

# Runs once, as root with CAP_NET_ADMIN and nothing else, and ends.
FROM debian:bookworm-slim AS intercept
RUN apt-get update && apt-get install -y --no-install-recommends nftables && rm -rf /var/lib/apt/lists/*
COPY --from=build /source/target/release/outrigger /usr/local/bin/outrigger
ENTRYPOINT ["/usr/local/bin/outrigger"]
CMD ["intercept", "apply", "--config", "/etc/outrigger"]

FROM gcr.io/distroless/cc-debian12:nonroot AS sidecar
COPY --from=build /source/target/release/outrigger /usr/local/bin/outrigger
# The user whose own calls the redirect rules leave alone.
USER 2102:2102
EXPOSE 15001 15006 15020
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s CMD ["/usr/local/bin/outrigger", "wait", "--timeout", "1s"]
ENTRYPOINT ["/usr/local/bin/outrigger"]
CMD ["run", "--config", "/etc/outrigger"]

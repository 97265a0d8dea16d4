# An image of `fer` with clusters, for scheduler, executors and jobs. Build it from the repository's root:
#   docker build -f deploy/corpus.Dockerfile -t fer-corpus .
FROM rust:1.95-slim-bookworm AS build
WORKDIR /fer
COPY . .
RUN cargo build --release --locked -p fer-cli --features cluster

# ffmpeg reads the videos among the objects.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates ffmpeg \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 65532 fer
COPY --from=build /fer/target/release/fer /usr/local/bin/fer
USER 65532
ENTRYPOINT ["/usr/local/bin/fer"]

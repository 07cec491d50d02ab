# The kit with everything compiled, so that a container starts to make images within seconds:
#   docker build --build-arg BUILDKIT_SANDBOX_HOSTNAME=jiidm -t jiidm .
#   docker run --rm --hostname jiidm -v "$PWD:/host" -w /host jiidm test_masks/ refs.json out/
# Jittor names its cache after the host, kernel and processor. Where one of them is another, it compiles anew (minutes).
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends g++ make python3-dev python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /jiidm
COPY . .
RUN bash setup_env.sh && cd /tmp && bash /jiidm/run_infer.sh && rm -r /tmp/out
ENTRYPOINT ["bash", "/jiidm/run_infer.sh"]

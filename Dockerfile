# The environment of `make setup`, as an image. In a checkout:
#
#   docker build --tag espnet2_avsep .
#   docker run --rm --volume "$PWD:/work" espnet2_avsep avsep separate duet.mp4 --help
#   docker run --rm --gpus all --shm-size 1g --volume ... espnet2_avsep ...
#
# PyTorch comes with its CUDA libraries and uses a GPU where the container has one. For a
# smaller image without them, name the package index of PyTorch's CPU builds:
#
#   docker build --build-arg TORCH_INDEX=<address of the index> --tag espnet2_avsep:cpu .
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

# pyworld, which ESPnet requires, has no wheels: it needs a C++ compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bash g++ git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/espnet2_avsep
COPY . .
ARG TORCH_INDEX=
RUN PIP_NO_CACHE_DIR=1 PIP_EXTRA_INDEX_URL="${TORCH_INDEX}" make setup

ENV VIRTUAL_ENV=/opt/espnet2_avsep/.venv
ENV PATH=/opt/espnet2_avsep/.venv/bin:${PATH}
WORKDIR /work
CMD ["avsep", "--help"]

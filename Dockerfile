# syntax=docker/dockerfile:1.7
# The service with Wan2.2 and all it needs, except the model's weights: those are mounted.
# linux/amd64 only: decord has no wheel for other Linux machines. See docs/docker.md.

# The CUDA of this image and the one that torch brings are both 12.8: the image's is on
# LD_LIBRARY_PATH and may be found first, so they have to agree. Ubuntu 22.04's own Python is 3.10, which Wan2.2 supports.
ARG CUDA_IMAGE=nvidia/cuda:12.8.1-runtime-ubuntu22.04
ARG NODE_IMAGE=node:24.21.0-bookworm-slim


# --- The service's packages ---------------------------------------------------------------------
FROM ${NODE_IMAGE} AS node

FROM node AS packages
WORKDIR /app
COPY package.json package-lock.json ./
# No install scripts: better-sqlite3 ships its binaries, and that for Linux needs glibc 2.34
# (Ubuntu 22.04 has 2.35). Optional is only TypeScript, which valibot could do with.
RUN --mount=type=cache,target=/root/.npm \
    npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund


# --- What is built: the service and the dashboard -------------------------------------------------
FROM node AS build
WORKDIR /app
COPY package.json package-lock.json tsconfig.json vite.config.ts ./
RUN --mount=type=cache,target=/root/.npm \
    npm ci --ignore-scripts --no-audit --no-fund
COPY src ./src
RUN npm run bundle && npm run dashboard


# --- What is used as it is --------------------------------------------------------------------------
FROM node AS code
WORKDIR /app
COPY LICENSE package.json ./
COPY bin ./bin
COPY sim ./sim
# COPY keeps the permissions that the checkout has, and with them the umask of whoever made it.
RUN chmod -R a+rX .


# --- Wan2.2, at one commit ----------------------------------------------------------------------
FROM scratch AS wan
ARG WAN_COMMIT=42bf4cfaa384bc21833865abc2f9e6c0e67233dc
ADD https://github.com/Wan-Video/Wan2.2.git#${WAN_COMMIT} /


# --- Python for generate.py ---------------------------------------------------------------------
FROM ${CUDA_IMAGE} AS python

# Versions are the distribution's: its security updates are wanted at each build.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates \
        ffmpeg \
        python3 \
        python3-venv \
        tini \
    && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/venv/bin:$PATH \
    LANG=C.UTF-8 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# hadolint ignore=DL3042
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/venv \
    && pip install pip==25.2 setuptools==80.9.0 wheel==0.45.1

# The large and rarely changed part gets a layer of its own. torch 2.9 is reported to take three
# times the memory in the VAE, where a 24 GB card has none to spare: do not raise it unmeasured.
# hadolint ignore=DL3042
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --only-binary=:all: \
        numpy==1.26.4 \
        torch==2.8.0 \
        torchaudio==2.8.0 \
        torchvision==0.23.0

# Wan2.2's requirements.txt is not used: it has no upper bounds but two, it lists flash_attn among
# the rest, whose build breaks the whole installation, and it lacks what `import wan` needs for
# every task: decord, einops, librosa, peft, regex, scipy.
#   transformers     at most 4.51.3, says Wan2.2; that wants tokenizers 0.21 and huggingface-hub < 1
#   numpy            below 2, says Wan2.2; hence opencv before 4.12, which wants numpy 2
#   opencv headless  the same cv2 without the X libraries
# hadolint ignore=DL3042
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --only-binary=:all: \
        numpy==1.26.4 \
        torch==2.8.0 \
        accelerate==1.10.1 \
        dashscope==1.24.6 \
        decord==0.6.0 \
        diffusers==0.33.1 \
        easydict==1.13 \
        einops==0.8.1 \
        ftfy==6.3.1 \
        huggingface-hub==0.34.4 \
        imageio==2.37.0 \
        imageio-ffmpeg==0.6.0 \
        librosa==0.11.0 \
        opencv-python-headless==4.11.0.86 \
        peft==0.17.1 \
        pillow==11.3.0 \
        psutil==7.0.0 \
        regex==2024.11.6 \
        safetensors==0.5.3 \
        scipy==1.15.3 \
        tokenizers==0.21.1 \
        tqdm==4.67.1 \
        transformers==4.51.3

# flash-attn is compulsory for Wan2.2. Its makers' own wheel is taken, for exactly this Python,
# torch, CUDA and C++ ABI, rather than a build in a devel stage: that takes hours, and with more
# than a job or two at once more memory than most machines have. To build it all the same (for
# another torch, say), see docs/docker.md. Whoever changes torch or Python above changes this line.
ARG FLASH_ATTN_WHEEL=https://github.com/Dao-AILab/flash-attention/releases/download/v2.8.3/flash_attn-2.8.3+cu12torch2.8cxx11abiTRUE-cp310-cp310-linux_x86_64.whl
# hadolint ignore=DL3042
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps "${FLASH_ATTN_WHEEL}"

# A mistake in the lists above shows here and not in the first job. `import wan` itself needs a GPU.
RUN pip check \
    && NUMBA_CACHE_DIR=/tmp/numba python3 -c "import accelerate, cv2, dashscope, decord, diffusers, easydict, einops, flash_attn, ftfy, imageio, imageio_ffmpeg, librosa, peft, regex, scipy, torch, torchaudio, torchvision, transformers; assert torch.version.cuda == '12.8', torch.version.cuda" \
    && rm -rf /tmp/*

COPY --from=wan / /opt/Wan2.2
# Nobody can write byte code there later.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/Wan2.2/wan


# --- The service --------------------------------------------------------------------------------
FROM python AS service

RUN groupadd --gid 10001 wan \
    && useradd --uid 10001 --gid wan --no-create-home --home-dir /tmp --shell /usr/sbin/nologin wan \
    && install --directory --owner=wan --group=wan --mode=0750 /data \
    && install --directory /models

COPY --from=node /usr/local/bin/node /usr/local/bin/node
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY --from=code /app ./
COPY --from=build /app/dist ./dist
RUN ln -s /app/bin/wanctl.js /usr/local/bin/wanctl \
    # The old name, for one release.
    && ln -s /app/bin/wan.js /usr/local/bin/wan

ENV NODE_ENV=production \
    MALLOC_ARENA_MAX=2 \
    HOST=0.0.0.0 \
    PORT=8080 \
    DATA_DIR=/data \
    WAN_DIR=/opt/Wan2.2 \
    WAN_CKPT_DIR=/models/Wan2.2-TI2V-5B \
    WAN_PYTHON=/opt/venv/bin/python3

# All that writes elsewhere than /data writes under /tmp, so that the rest can be read-only and any
# user will do. librosa cannot even be imported where numba finds no place for its cache.
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_CACHE_HOME=/tmp/cache \
    CUDA_CACHE_PATH=/tmp/cache/cuda \
    HF_HOME=/tmp/cache/huggingface \
    NUMBA_CACHE_DIR=/tmp/cache/numba \
    TORCHINDUCTOR_CACHE_DIR=/tmp/cache/inductor \
    TRITON_CACHE_DIR=/tmp/cache/triton

USER 10001:10001
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/health', { signal: AbortSignal.timeout(4000) }).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]

# tini reaps what the generations leave behind and hands SIGTERM to the service.
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["node", "--max-semi-space-size=8", "dist/main.js"]

# Last, because they change with every build.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="wan-supervisor" \
      org.opencontainers.image.description="Queues Wan2.2 video jobs over the GPUs of one machine or several" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

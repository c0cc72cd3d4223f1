# One image for all processes; the first word says which one runs:
#   docker run IMAGE listener | worker | web | release
# Any other command runs as it is: docker run IMAGE celery -A worker doctor
FROM python:3.11-slim

# Logs appear at once; what is kept on a disk (the listener's spool) goes to /data.
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DATA_DIR=/data

WORKDIR /app
RUN useradd --system --uid 10001 bot && install --directory --owner=bot --mode=700 /data

# What is pinned is a layer of its own, which a change of the code leaves alone. The last line of
# the file is the project itself.
COPY requirements.txt ./
RUN grep -v '^\.$' requirements.txt >pinned.txt && pip install -r pinned.txt && rm pinned.txt

COPY . .
RUN pip install --no-deps .

# By number, so that Kubernetes can see that it is not root.
USER 10001
VOLUME /data
ENTRYPOINT ["/app/deploy/start"]

# One image for every command: `threadline api`, `threadline worker`, `threadline migrate`.
# It brings no PostgreSQL: set DATABASE_URL. Your own graphs: copy or mount a project and set THREADLINE_CONFIG.

FROM python:3.13-slim-bookworm AS build
WORKDIR /app
COPY requirements/uv.txt requirements/runtime.txt requirements/
RUN python -m pip install --no-cache-dir --require-hashes -r requirements/uv.txt \
 && python -m venv --without-pip /opt/threadline \
 && uv pip install --no-cache --compile-bytecode --python /opt/threadline/bin/python \
      --require-hashes -r requirements/runtime.txt
COPY . .
# In place, like a clone: the paths in langgraph.json are those of the package.
RUN uv pip install --no-cache --python /opt/threadline/bin/python --no-deps --editable . \
 && python -m compileall -q .

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --create-home threadline
COPY --from=build /opt/threadline /opt/threadline
COPY --from=build /app /app
ENV PATH=/opt/threadline/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001
EXPOSE 8123
# For the commands that serve HTTP; a worker's sign of life is its lease in the database.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["python", "-c", "\
from http.client import HTTPConnection; from os import environ; \
c = HTTPConnection('127.0.0.1', int(environ.get('THREADLINE_PORT') or 8123), timeout=2); \
c.request('GET', '/ok'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["threadline"]
CMD ["api", "--host", "0.0.0.0"]

# flowconv with Dask: driver, scheduler and workers run in the same image.
FROM python:3.13-slim AS build
COPY pyproject.toml hatch_build.py README.md LICENSE /src/
COPY flowconv /src/flowconv
# The image has no compiler; the build fetches one from PyPI and leaves it in this stage.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.13-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/flowconv-*.whl)[dask]" \
    && useradd --create-home --uid 1000 flowconv
# Workers that wait measure themselves less often: flowconv.engines.dask has the reason.
ENV DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL=5s \
    DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL=1s \
    DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False
USER 1000
WORKDIR /home/flowconv
CMD ["flowconv", "--help"]

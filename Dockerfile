# accel-rt on the CPU.
# docker build -t accel-rt .
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" accel-rt segment drive.mp4
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/accel-rt
ENV PATH=/opt/accel-rt/bin:$PATH
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch>=2.10"
RUN pip install --no-cache-dir "setuptools>=78.1.1" wheel ninja
WORKDIR /src
COPY . .
RUN ACCEL_RT_CUDA=0 pip install --no-cache-dir --no-build-isolation ".[live,report,stats]"

FROM python:3.12-slim
# OpenCV's window library wants these even where no window is opened
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* && useradd --create-home user
COPY --from=build /opt/accel-rt /opt/accel-rt
ENV PATH=/opt/accel-rt/bin:$PATH
USER user
WORKDIR /work
EXPOSE 8770
ENTRYPOINT ["accel-rt"]
CMD ["--help"]

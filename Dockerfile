# All services in one image; the argument names the one to run: docker run muster ingestion
FROM node:24-bookworm-slim AS manifests
COPY . /src
# What npm ci reads and nothing else: its layer is made anew only when a dependency changes.
RUN find /src -type f ! -name package.json ! -name package-lock.json ! -name .npmrc -delete

FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY --from=manifests /src .
RUN --mount=type=cache,target=/root/.npm npm ci
COPY . .
# Generating the client needs an engine only to be there, and none is downloaded (docs/decisions/005).
RUN PRISMA_SCHEMA_ENGINE_BINARY=$(command -v node) npx prisma generate --config libs/database/prisma.config.ts \
 && npx vite build apps/console \
 && npx vite build --config vite.image.ts

FROM node:24-bookworm-slim
LABEL org.opencontainers.image.title="Muster" \
      org.opencontainers.image.description="Fleet monitor for MQTT devices"
# Each thread of Node would keep memory of its own (mallopt(3)).
ENV NODE_ENV=production MALLOC_ARENA_MAX=2 MUSTER_HTTP_HOST=0.0.0.0 MUSTER_HTTP_PORT=8080
COPY --from=build /src/dist /app
# A volume that is mounted here gets its owner.
RUN install -d -o node -g node -m 700 /spool
USER node
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["node", "/app/main.js", "healthcheck"]
# Of url.parse() in mqtt.js, which says so at each start of each pod.
ENTRYPOINT ["node", "--disable-warning=DEP0169", "/app/main.js"]
CMD ["registry"]

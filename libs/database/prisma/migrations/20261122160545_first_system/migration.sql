-- CreateSchema
CREATE SCHEMA IF NOT EXISTS "public";

-- CreateTable
CREATE TABLE "last_reading" (
    "device" TEXT NOT NULL,
    "metric" TEXT NOT NULL,
    "number" DOUBLE PRECISION,
    "boolean" BOOLEAN,
    "text" TEXT,
    "unit" TEXT,
    "at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "last_reading_pkey" PRIMARY KEY ("device","metric")
);

-- CreateTable
CREATE TABLE "device_activity" (
    "device" TEXT NOT NULL,
    "last_seen_at" TIMESTAMPTZ(3) NOT NULL,
    "messages" BIGINT NOT NULL DEFAULT 0,
    "broker" TEXT NOT NULL,

    CONSTRAINT "device_activity_pkey" PRIMARY KEY ("device")
);

-- CreateTable
CREATE TABLE "boot_time" (
    "device" TEXT NOT NULL,
    "session" BIGINT NOT NULL,
    "booted_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "boot_time_pkey" PRIMARY KEY ("device","session")
);

-- CreateTable
CREATE TABLE "dead_letter" (
    "device" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "topic" TEXT NOT NULL,
    "payload" BYTEA NOT NULL,
    "payload_size" INTEGER NOT NULL,
    "detail" TEXT NOT NULL,
    "count" BIGINT NOT NULL,
    "first_at" TIMESTAMPTZ(3) NOT NULL,
    "last_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "dead_letter_pkey" PRIMARY KEY ("device","reason")
);

-- CreateTable
CREATE TABLE "presence" (
    "device" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "since" TIMESTAMPTZ(3) NOT NULL,
    "session" BIGINT,
    "superseded" BIGINT[],
    "wake_expected_at" TIMESTAMPTZ(3),
    "evidence" JSONB NOT NULL,

    CONSTRAINT "presence_pkey" PRIMARY KEY ("device")
);

-- CreateTable
CREATE TABLE "presence_transition" (
    "id" BIGSERIAL NOT NULL,
    "device" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "from" TEXT NOT NULL,
    "to" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "session" BIGINT,
    "evidence" JSONB NOT NULL,

    CONSTRAINT "presence_transition_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "device" (
    "id" TEXT NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'discovered',
    "name" TEXT,
    "description" TEXT,
    "info" JSONB,
    "discovered_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "device_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "tombstone" (
    "device" TEXT NOT NULL,
    "version" BIGSERIAL NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "tombstone_pkey" PRIMARY KEY ("device")
);

-- CreateTable
CREATE TABLE "decommission" (
    "device" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "report" JSONB NOT NULL,
    "requested_at" TIMESTAMPTZ(3) NOT NULL,
    "verified_at" TIMESTAMPTZ(3),

    CONSTRAINT "decommission_pkey" PRIMARY KEY ("device")
);

-- CreateIndex
CREATE INDEX "presence_transition_device_id_idx" ON "presence_transition"("device", "id");

-- CreateIndex
CREATE UNIQUE INDEX "tombstone_version_key" ON "tombstone"("version");

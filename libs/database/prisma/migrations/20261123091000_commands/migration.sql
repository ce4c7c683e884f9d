-- AlterTable
ALTER TABLE "device" ADD COLUMN "replaced_at" TIMESTAMPTZ(3),
ADD COLUMN "replacements" INTEGER NOT NULL DEFAULT 0;

-- CreateTable
CREATE TABLE "device_command" (
    "id" UUID NOT NULL,
    "seq" BIGSERIAL NOT NULL,
    "device" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "args" JSONB NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'queued',
    "by" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "sent_at" TIMESTAMPTZ(3),
    "brokers" TEXT[],
    "ended_at" TIMESTAMPTZ(3),
    "error" TEXT,
    "late" JSONB,
    "waits_for" TEXT NOT NULL DEFAULT '',
    "next_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "connection" TEXT,
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "idempotency_key" TEXT,
    "request_hash" TEXT NOT NULL,

    CONSTRAINT "device_command_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "device_config" (
    "device" TEXT NOT NULL,
    "version" BIGINT NOT NULL,
    "settings" JSONB,
    "by" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "device_config_pkey" PRIMARY KEY ("device","version")
);

-- CreateTable
CREATE TABLE "device_config_broker" (
    "device" TEXT NOT NULL,
    "broker" TEXT NOT NULL,
    "version" BIGINT NOT NULL DEFAULT 0,
    "published_at" TIMESTAMPTZ(3),
    "next_at" TIMESTAMPTZ(3),
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "fault" TEXT,

    CONSTRAINT "device_config_broker_pkey" PRIMARY KEY ("device","broker")
);

-- CreateTable
CREATE TABLE "device_replacement" (
    "id" BIGSERIAL NOT NULL,
    "device" TEXT NOT NULL,
    "by" TEXT NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'incomplete',
    "account_version" BIGINT NOT NULL,
    "report" JSONB NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "completed_at" TIMESTAMPTZ(3),

    CONSTRAINT "device_replacement_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "device_command_seq_key" ON "device_command"("seq");

-- CreateIndex
CREATE INDEX "device_command_device_seq_idx" ON "device_command"("device", "seq");

-- CreateIndex
CREATE INDEX "device_command_state_next_at_idx" ON "device_command"("state", "next_at");

-- CreateIndex
CREATE INDEX "device_command_created_at_idx" ON "device_command"("created_at");

-- CreateIndex
CREATE UNIQUE INDEX "device_command_device_idempotency_key_key" ON "device_command"("device", "idempotency_key");

-- CreateIndex
CREATE INDEX "device_config_broker_next_at_idx" ON "device_config_broker"("next_at");

-- CreateIndex
CREATE INDEX "device_replacement_device_id_idx" ON "device_replacement"("device", "id");

-- CreateIndex
CREATE INDEX "device_replacement_state_idx" ON "device_replacement"("state");

-- AlterTable
ALTER TABLE "dead_letter" ADD COLUMN "settled" BIGINT NOT NULL DEFAULT 0;

-- CreateTable
CREATE TABLE "dead_letter_message" (
    "id" BIGSERIAL NOT NULL,
    "device" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "detail" TEXT NOT NULL,
    "broker" TEXT NOT NULL,
    "topic" TEXT NOT NULL,
    "payload" BYTEA NOT NULL,
    "received_at" TIMESTAMPTZ(3) NOT NULL,
    "failed_replay" BIGINT,

    CONSTRAINT "dead_letter_message_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "dead_letter_replay_progress" (
    "replay" BIGINT NOT NULL,
    "stored" BIGINT NOT NULL DEFAULT 0,
    "failed" BIGINT NOT NULL DEFAULT 0,
    "ended_at" TIMESTAMPTZ(3),

    CONSTRAINT "dead_letter_replay_progress_pkey" PRIMARY KEY ("replay")
);

-- CreateTable
CREATE TABLE "dead_letter_replay" (
    "id" BIGSERIAL NOT NULL,
    "requested_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "requested_by" TEXT NOT NULL,
    "device" TEXT,
    "reason" TEXT,
    "letters" TEXT[],
    "up_to" BIGINT NOT NULL,
    "requested" BIGINT NOT NULL,

    CONSTRAINT "dead_letter_replay_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "dead_letter_message_device_reason_id_idx" ON "dead_letter_message"("device", "reason", "id");

-- CreateIndex
CREATE INDEX "dead_letter_message_received_at_idx" ON "dead_letter_message"("received_at");

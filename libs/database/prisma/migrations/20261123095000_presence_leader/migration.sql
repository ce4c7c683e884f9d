-- AlterTable
ALTER TABLE "presence" ADD COLUMN "interrupted" JSONB,
ADD COLUMN "mirrors" TEXT[] DEFAULT ARRAY[]::TEXT[],
ADD COLUMN "learned_interval_ms" INTEGER,
ADD COLUMN "flags" JSONB NOT NULL DEFAULT '[]';

-- CreateTable
CREATE TABLE "presence_leader" (
    "id" INTEGER NOT NULL DEFAULT 1,
    "epoch" BIGINT NOT NULL,
    "since" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "presence_leader_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "presence_broker" (
    "broker" TEXT NOT NULL,
    "uptime_ms" BIGINT NOT NULL,
    "told_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "presence_broker_pkey" PRIMARY KEY ("broker")
);

-- CreateTable
CREATE TABLE "incident" (
    "id" BIGSERIAL NOT NULL,
    "broker" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "from" TIMESTAMPTZ(3) NOT NULL,
    "until" TIMESTAMPTZ(3),
    "devices" INTEGER NOT NULL,
    "lost" INTEGER,

    CONSTRAINT "incident_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "incident_broker_until_idx" ON "incident"("broker", "until");

-- CreateTable
CREATE TABLE "ingestion_attention" (
    "broker" TEXT NOT NULL,
    "from" TIMESTAMPTZ(3) NOT NULL,
    "until" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "ingestion_attention_pkey" PRIMARY KEY ("broker")
);

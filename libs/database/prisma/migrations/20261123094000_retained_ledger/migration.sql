-- CreateTable
CREATE TABLE "retained_topic" (
    "broker" TEXT NOT NULL,
    "topic" TEXT NOT NULL,
    "device" TEXT,
    "bytes" INTEGER NOT NULL,
    "sha256" TEXT NOT NULL,
    "qos" INTEGER,
    "first_seen_at" TIMESTAMPTZ(3) NOT NULL,
    "last_seen_at" TIMESTAMPTZ(3) NOT NULL,
    "expires_at" TIMESTAMPTZ(3),

    CONSTRAINT "retained_topic_pkey" PRIMARY KEY ("broker","topic")
);

-- CreateTable
CREATE TABLE "ghost" (
    "id" BIGSERIAL NOT NULL,
    "device" TEXT NOT NULL,
    "broker" TEXT NOT NULL,
    "topic" TEXT NOT NULL,
    "bytes" INTEGER NOT NULL,
    "sha256" TEXT NOT NULL,
    "first_seen_at" TIMESTAMPTZ(3) NOT NULL,
    "last_seen_at" TIMESTAMPTZ(3) NOT NULL,
    "times" INTEGER NOT NULL,
    "cleared_at" TIMESTAMPTZ(3),
    "cause" TEXT NOT NULL,
    "explanation" TEXT NOT NULL,
    "next_clear_at" TIMESTAMPTZ(3),

    CONSTRAINT "ghost_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "retained_topic_device_idx" ON "retained_topic"("device");

-- CreateIndex
CREATE UNIQUE INDEX "ghost_device_broker_topic_key" ON "ghost"("device", "broker", "topic");

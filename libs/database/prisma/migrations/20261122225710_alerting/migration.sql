-- CreateTable
CREATE TABLE "alert_rule" (
    "name" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "definition" JSONB NOT NULL,
    "author" TEXT NOT NULL,
    "updated_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "alert_rule_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "alert_rule_version" (
    "rule" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "definition" JSONB,
    "author" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "alert_rule_version_pkey" PRIMARY KEY ("rule","version")
);

-- CreateTable
CREATE TABLE "starter_alert_rule" (
    "name" TEXT NOT NULL,
    "given_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "starter_alert_rule_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "alert" (
    "id" TEXT NOT NULL,
    "open_key" TEXT,
    "rule" TEXT NOT NULL,
    "rule_version" INTEGER NOT NULL,
    "kind" TEXT NOT NULL,
    "severity" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "device" TEXT,
    "broker" TEXT,
    "summary" TEXT NOT NULL,
    "value" DOUBLE PRECISION,
    "labels" JSONB NOT NULL,
    "runbook" TEXT,
    "since" TIMESTAMPTZ(3) NOT NULL,
    "started_at" TIMESTAMPTZ(3),
    "resolved_at" TIMESTAMPTZ(3),
    "acknowledged_at" TIMESTAMPTZ(3),
    "acknowledged_by" TEXT,
    "silenced_by" TEXT,

    CONSTRAINT "alert_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "alert_event" (
    "id" BIGSERIAL NOT NULL,
    "alert" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "kind" TEXT NOT NULL,
    "actor" TEXT,
    "text" TEXT,

    CONSTRAINT "alert_event_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "alert_told" (
    "receiver" TEXT NOT NULL,
    "alert" TEXT NOT NULL,

    CONSTRAINT "alert_told_pkey" PRIMARY KEY ("receiver","alert")
);

-- CreateTable
CREATE TABLE "notification" (
    "id" TEXT NOT NULL,
    "sequence" BIGSERIAL NOT NULL,
    "receiver" TEXT NOT NULL,
    "group" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "content" JSONB NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "due_at" TIMESTAMPTZ(3),
    "delivered_at" TIMESTAMPTZ(3),

    CONSTRAINT "notification_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "delivery" (
    "id" BIGSERIAL NOT NULL,
    "notification" TEXT NOT NULL,
    "receiver" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "attempt" INTEGER NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "outcome" TEXT NOT NULL,
    "detail" TEXT NOT NULL,
    "duration_ms" INTEGER NOT NULL,
    "summary" TEXT NOT NULL,

    CONSTRAINT "delivery_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "silence" (
    "id" TEXT NOT NULL,
    "matchers" JSONB NOT NULL,
    "from" TIMESTAMPTZ(3) NOT NULL,
    "until" TIMESTAMPTZ(3) NOT NULL,
    "why" TEXT NOT NULL,
    "who" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "silence_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "maintenance_window" (
    "name" TEXT NOT NULL,
    "matchers" JSONB NOT NULL,
    "schedule" JSONB NOT NULL,
    "why" TEXT NOT NULL,
    "who" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "maintenance_window_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "notice_position" (
    "id" INTEGER NOT NULL DEFAULT 1,
    "notice" BIGINT NOT NULL,

    CONSTRAINT "notice_position_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "alert_open_key_key" ON "alert"("open_key");

-- CreateIndex
CREATE INDEX "alert_since_id_idx" ON "alert"("since", "id");

-- CreateIndex
CREATE INDEX "alert_state_since_idx" ON "alert"("state", "since");

-- CreateIndex
CREATE INDEX "alert_event_alert_id_idx" ON "alert_event"("alert", "id");

-- CreateIndex
CREATE INDEX "notification_due_at_idx" ON "notification"("due_at");

-- CreateIndex
CREATE INDEX "notification_receiver_group_created_at_idx" ON "notification"("receiver", "group", "created_at");

-- CreateIndex
CREATE INDEX "delivery_receiver_id_idx" ON "delivery"("receiver", "id");

-- CreateIndex
CREATE INDEX "delivery_at_idx" ON "delivery"("at");

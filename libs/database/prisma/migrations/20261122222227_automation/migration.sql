-- CreateTable
CREATE TABLE "rule" (
    "id" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "enabled" BOOLEAN NOT NULL DEFAULT true,
    "stopped" TEXT,
    "stopped_at" TIMESTAMPTZ(3),
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "rule_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "rule_version" (
    "rule" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "definition" JSONB NOT NULL,
    "author" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "rule_version_pkey" PRIMARY KEY ("rule","version")
);

-- CreateTable
CREATE TABLE "rule_timer" (
    "id" BIGSERIAL NOT NULL,
    "rule" TEXT NOT NULL,
    "part" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "due_at" TIMESTAMPTZ(3),
    "trigger" JSONB NOT NULL,
    "effects" JSONB,
    "run" BIGINT,

    CONSTRAINT "rule_timer_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "rule_override" (
    "rule" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "until" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "rule_override_pkey" PRIMARY KEY ("rule","subject")
);

-- CreateTable
CREATE TABLE "rule_run" (
    "id" BIGSERIAL NOT NULL,
    "rule" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "subject" TEXT NOT NULL,
    "trigger" JSONB NOT NULL,
    "outcome" TEXT NOT NULL,
    "detail" TEXT,

    CONSTRAINT "rule_run_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "mode" (
    "id" INTEGER NOT NULL DEFAULT 1,
    "mode" TEXT NOT NULL,
    "since" TIMESTAMPTZ(3) NOT NULL,
    "set_by" TEXT NOT NULL,

    CONSTRAINT "mode_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "notice" (
    "id" BIGSERIAL NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "rule" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "severity" TEXT NOT NULL,
    "text" TEXT NOT NULL,

    CONSTRAINT "notice_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "rule_timer_run_idx" ON "rule_timer"("run");

-- CreateIndex
CREATE UNIQUE INDEX "rule_timer_rule_part_subject_key" ON "rule_timer"("rule", "part", "subject");

-- CreateIndex
CREATE INDEX "rule_run_rule_id_idx" ON "rule_run"("rule", "id");

-- CreateIndex
CREATE INDEX "rule_run_at_idx" ON "rule_run"("at");

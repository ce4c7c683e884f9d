-- AlterTable
ALTER TABLE "broker_agent" ADD COLUMN     "saved_at" TIMESTAMPTZ(6);

-- AlterTable
ALTER TABLE "decommission" ADD COLUMN     "purged_at" TIMESTAMPTZ(3),
ADD COLUMN     "save_requested_at" TIMESTAMPTZ(6);

-- AlterTable
ALTER TABLE "device" ADD COLUMN     "archived_from" TEXT;

-- CreateTable
CREATE TABLE "broker_save_request" (
    "broker" TEXT NOT NULL,
    "requested_at" TIMESTAMPTZ(6) NOT NULL,

    CONSTRAINT "broker_save_request_pkey" PRIMARY KEY ("broker")
);

-- CreateTable
CREATE TABLE "decommission_undone" (
    "id" BIGSERIAL NOT NULL,
    "device" TEXT NOT NULL,
    "report" JSONB NOT NULL,
    "undone_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "decommission_undone_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "decommission_undone_device_id_idx" ON "decommission_undone"("device", "id");

-- CreateIndex
CREATE INDEX "decommission_state_idx" ON "decommission"("state");

-- AlterTable
ALTER TABLE "device" ADD COLUMN     "tags" TEXT[] DEFAULT ARRAY[]::TEXT[];

-- CreateTable
CREATE TABLE "device_group" (
    "name" TEXT NOT NULL,
    "description" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "device_group_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "device_group_member" (
    "group" TEXT NOT NULL,
    "device" TEXT NOT NULL,

    CONSTRAINT "device_group_member_pkey" PRIMARY KEY ("group","device")
);

-- CreateIndex
CREATE INDEX "device_group_member_device_idx" ON "device_group_member"("device");

-- CreateIndex
CREATE INDEX "device_tags_idx" ON "device" USING GIN ("tags");

-- AddForeignKey
ALTER TABLE "device_group_member" ADD CONSTRAINT "device_group_member_group_fkey" FOREIGN KEY ("group") REFERENCES "device_group"("name") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "device_group_member" ADD CONSTRAINT "device_group_member_device_fkey" FOREIGN KEY ("device") REFERENCES "device"("id") ON DELETE CASCADE ON UPDATE CASCADE;

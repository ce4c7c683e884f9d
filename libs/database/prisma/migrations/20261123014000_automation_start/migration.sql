-- CreateTable
CREATE TABLE "automation_start" (
    "id" INTEGER NOT NULL DEFAULT 1,
    "starts" INTEGER NOT NULL,

    CONSTRAINT "automation_start_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "ingestion_spool" (
    "ordinal" INTEGER NOT NULL,
    "bytes" BIGINT NOT NULL,
    "oldest_at" TIMESTAMPTZ(3),
    "seen_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "ingestion_spool_pkey" PRIMARY KEY ("ordinal")
);

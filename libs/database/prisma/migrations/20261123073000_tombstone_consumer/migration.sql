-- CreateTable
CREATE TABLE "tombstone_consumer" (
    "consumer" TEXT NOT NULL,
    "applied_at" TIMESTAMPTZ(6) NOT NULL,

    CONSTRAINT "tombstone_consumer_pkey" PRIMARY KEY ("consumer")
);

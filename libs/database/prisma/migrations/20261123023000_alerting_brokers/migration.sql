-- CreateTable
CREATE TABLE "broker_figure" (
    "broker" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "value" DOUBLE PRECISION NOT NULL,
    "seen_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "broker_figure_pkey" PRIMARY KEY ("broker","name")
);

-- CreateTable
CREATE TABLE "broker_outage" (
    "broker" TEXT NOT NULL,
    "from" TIMESTAMPTZ(3) NOT NULL,
    "until" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "broker_outage_pkey" PRIMARY KEY ("broker","from")
);

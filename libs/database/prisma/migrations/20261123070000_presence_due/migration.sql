-- AlterTable
ALTER TABLE "presence" ADD COLUMN "due_at" TIMESTAMPTZ(3);

-- Sleepers of before: 1.5 times what they announced (docs/presence.md, rule 6).
UPDATE "presence" SET "due_at" = "since" + 1.5 * ("wake_expected_at" - "since")
WHERE "state" = 'asleep' AND "wake_expected_at" IS NOT NULL;

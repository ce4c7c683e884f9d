-- The engine that applies this ends a statement at every semicolon, also at one in a text.
-- What dashboards read, and nothing else: views with the rights of their owner, so who may read them needs no right on a
-- table. Columns are named one by one: a new column of a table is in no view until somebody puts it there.
CREATE SCHEMA IF NOT EXISTS "grafana";
COMMENT ON SCHEMA "grafana" IS 'What dashboards may read. Views only: no payload, no credential, no hash.';

-- CreateIndex
CREATE INDEX "presence_transition_at_idx" ON "presence_transition"("at");

CREATE VIEW "grafana"."device" AS
SELECT device.id,
       coalesce(nullif(device.name, ''), device.id) AS name,
       device.state,
       device.state NOT IN ('decommissioned', 'archived') AS in_service,
       coalesce(presence.state, 'unknown') AS presence,
       coalesce(presence.reason, 'never-heard') AS reason,
       presence.since,
       presence.wake_expected_at,
       presence.evidence ->> 'rule' AS rule,
       device_activity.last_seen_at,
       coalesce(device_activity.messages, 0) AS messages,
       left(device.info ->> 'model', 100) AS model,
       left(device.info ->> 'firmware', 100) AS firmware,
       coalesce(device_activity.broker, presence.evidence ->> 'broker') AS broker,
       device.discovered_at
FROM "public"."device"
LEFT JOIN "public"."presence" ON presence.device = device.id
LEFT JOIN "public"."device_activity" ON device_activity.device = device.id;
COMMENT ON VIEW "grafana"."device" IS
  'Each device that was ever heard or registered: its life (state), whether it is in service, its presence with reason and rule, when it last sent telemetry, model, firmware and broker. A device that only telemetry tells of is unknown, never-heard.';

CREATE VIEW "grafana"."presence_count" AS
SELECT known.presence, count(device.id) AS devices
FROM (VALUES ('lost'), ('stale'), ('unknown'), ('offline'), ('asleep'), ('online')) AS known(presence)
LEFT JOIN "grafana"."device" ON device.presence = known.presence AND device.in_service
GROUP BY known.presence;
COMMENT ON VIEW "grafana"."presence_count" IS
  'Devices in service by presence: always six rows, also where there are none.';

CREATE VIEW "grafana"."presence_transition" AS
SELECT presence_transition.id,
       presence_transition.at,
       presence_transition.device,
       coalesce(nullif(device.name, ''), device.id, presence_transition.device) AS name,
       coalesce(device.state NOT IN ('decommissioned', 'archived'), false) AS in_service,
       presence_transition."from",
       presence_transition."to",
       presence_transition.reason,
       presence_transition.evidence ->> 'broker' AS broker,
       presence_transition.evidence ->> 'topic' AS topic,
       presence_transition.evidence ->> 'rule' AS rule
FROM "public"."presence_transition"
LEFT JOIN "public"."device" ON device.id = presence_transition.device;
COMMENT ON VIEW "grafana"."presence_transition" IS
  'Every change of presence with its reason and the rule that was applied. The payload stays in the table. Order by id: times may be equal.';

CREATE VIEW "grafana"."dead_letter" AS
SELECT dead_letter.device, dead_letter.reason, dead_letter.topic, dead_letter.detail, dead_letter.payload_size,
       dead_letter.count, dead_letter.first_at, dead_letter.last_at
FROM "public"."dead_letter";
COMMENT ON VIEW "grafana"."dead_letter" IS
  'Telemetry that could not be used, by device and reason, with the newest topic and detail. The device is empty where the topic has none. The payload stays in the table: nobody knows what it holds.';

CREATE VIEW "grafana"."decommission" AS
SELECT decommission.device,
       device.state AS life,
       decommission.state,
       decommission.requested_at,
       decommission.verified_at,
       jsonb_array_length(decommission.report -> 'brokers') AS brokers,
       jsonb_array_length(decommission.report -> 'cleared') AS cleared,
       jsonb_array_length(decommission.report -> 'after') AS still_retained,
       jsonb_array_length(decommission.report -> 'kept') AS kept
FROM "public"."decommission"
LEFT JOIN "public"."device" ON device.id = decommission.device;
COMMENT ON VIEW "grafana"."decommission" IS
  'Decommissionings: verified or incomplete, on how many brokers, how many retained messages were cleared, are still there, or are kept for another device. Topics and hashes stay in the report.';

CREATE VIEW "grafana"."last_reading" AS
SELECT last_reading.device, last_reading.metric, last_reading.number, last_reading.boolean, last_reading.text,
       coalesce(last_reading.number::text, last_reading.boolean::text, last_reading.text) AS value,
       last_reading.unit, last_reading.at
FROM "public"."last_reading";
COMMENT ON VIEW "grafana"."last_reading" IS
  'The newest reading of each metric of each device, by device time. One of number, boolean and text is set: value is it as a text.';

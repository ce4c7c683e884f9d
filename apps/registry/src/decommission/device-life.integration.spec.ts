import { deviceId, type DeviceId } from '@muster/contract';
import { openDatabase, type PrismaClient } from '@muster/database';
import { freshDatabase } from '@muster/database/fresh-database';
import type { Logger } from '@muster/service';
import { TelemetryHistory } from '@muster/telemetry';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { Devices } from '../devices/devices.ts';
import { newReport } from './decommission-report.ts';
import { DeviceLife } from './device-life.ts';

const logger = { info: () => undefined } as unknown as Logger;

describe('deleting the history of a decommissioned device', () => {
  const { influxdb, postgresUrl } = inject('engines');
  const now = new Date();
  let database: PrismaClient;

  beforeAll(async () => {
    const url = await freshDatabase(postgresUrl);
    database = openDatabase(url, 'device-life-test');
  });
  afterAll(async () => {
    await database.$disconnect();
  });

  /** An alert with an event, by the id of its device. */
  async function alert(id: string, device: DeviceId, state: 'firing' | 'resolved'): Promise<void> {
    await database.alert.create({
      data: {
        ...{ id, rule: 'silent', ruleVersion: 1, kind: 'silence', severity: 'warning', state, subject: device, device },
        ...{ summary: `${device} is silent`, labels: {}, since: now },
      },
    });
    await database.alertEvent.create({ data: { alert: id, at: now, kind: 'firing' } });
  }

  /** A notification of some alerts with one delivery, which is yet to be repeated where it is due. */
  async function notification(id: string, alerts: readonly string[], more: object = {}, dueAt?: Date): Promise<void> {
    const content = { omitted: 0, alerts: alerts.map((one) => ({ id: one })), ...more };
    await database.notification.create({
      data: { id, receiver: 'team', group: 'g', kind: 'alerts', content, createdAt: now, dueAt: dueAt ?? null },
    });
    const told = { notification: id, receiver: 'team', kind: 'alerts', attempt: 1, at: now, outcome: 'delivered' };
    await database.delivery.create({ data: { ...told, detail: '', durationMs: 1, summary: '' } });
  }

  it('takes its alerts, what was told of them alone and its undone decommissionings, and nothing of others', async () => {
    const [gone, other] = [deviceId('gone'), deviceId('other')];
    const report = {
      ...newReport({ ...{ device: gone, now, brokers: [], filters: [] }, managed: true, hadAccount: false }),
    };
    await database.device.createMany({ data: [{ id: gone, state: 'decommissioned' }, { id: other }] });
    await database.decommission.create({
      data: { device: gone, state: 'done', report: { ...report, state: 'done' }, requestedAt: now },
    });
    await database.decommissionUndone.createMany({ data: [gone, other].map((device) => ({ device, report })) });
    await alert('own', gone, 'resolved');
    await alert('open', gone, 'firing');
    await alert('untold', gone, 'resolved');
    await database.alertTold.create({ data: { alert: 'untold', receiver: 'team' } });
    await alert('others', other, 'resolved');
    await notification('of-own', ['own']);
    await notification('of-both', ['own', 'others']);
    await notification('of-others', ['others']);
    await notification('of-more', ['own'], { omitted: 3 });
    await notification('due', ['own'], {}, now);
    await notification('of-none', []);
    await database.$executeRaw`
      INSERT INTO dead_letter_message (device, reason, detail, broker, topic, payload, received_at)
      SELECT device, 'bad-name', '', 'mosquitto-0', 'a/b', 'x', ${now} FROM unnest(${[gone, gone, other]}::text[]) AS of(device)`;
    const life = new DeviceLife({
      ...{ database, devices: new Devices(database), managed: true, logger },
      ...{ history: new TelemetryHistory(influxdb), onRevived: () => Promise.resolve() },
    });
    const { rows } = await life.purge(gone, true);
    expect(rows).toMatchObject({
      dead_letter_message: 2,
      ...{ alert: 1, alert_event: 1, notification: 1, delivery: 1, decommission_undone: 1, device: 1 },
    });
    const alerts = await database.alert.findMany({ orderBy: { id: 'asc' } });
    expect(alerts.map(({ id }) => id)).toEqual(['open', 'others', 'untold']);
    const events = await database.alertEvent.findMany({ orderBy: { alert: 'asc' } });
    expect(events.map((event) => event.alert)).toEqual(['open', 'others', 'untold']);
    const told = ['due', 'of-both', 'of-more', 'of-none', 'of-others'];
    const notifications = await database.notification.findMany({ orderBy: { id: 'asc' } });
    expect(notifications.map(({ id }) => id)).toEqual(told);
    const deliveries = await database.delivery.findMany({ orderBy: { notification: 'asc' } });
    expect(deliveries.map((delivery) => delivery.notification)).toEqual(told);
    const undone = await database.decommissionUndone.findMany();
    expect(undone.map(({ device }) => device)).toEqual([other]);
    expect(await database.decommission.count()).toBe(1);
    expect((await life.purge(gone, true)).rows).toMatchObject({ alert: 0, notification: 0 });
  });
});

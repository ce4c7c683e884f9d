import { storableText, type Delivery, type DeliveryPage, type DeliveryQuery } from '@muster/contract';
import type { PrismaClient } from '@muster/database';
import { ProblemError } from '@muster/service';
import type { NotificationContent, NotificationRecord } from './alert-record.ts';
import { cursorOf, partsOf } from './page-cursor.ts';

/** A notification that waits to be delivered. */
export interface WaitingNotification extends NotificationRecord {
  readonly attempts: number;
  readonly dueMs: number;
}

/** One attempt to deliver a notification. */
export interface Attempt {
  readonly notification: NotificationRecord;
  readonly number: number;
  readonly atMs: number;
  readonly outcome: Delivery['outcome'];
  readonly detail: string;
  readonly durationMs: number;
  /** When it is tried again; null where it is not. */
  readonly retryAtMs: number | null;
}

/** What is known of the deliveries to one receiver. */
export interface ReceiverActivity {
  readonly waiting: number;
  readonly lastDeliveredAt: Date | null;
  readonly lastFailure: { readonly at: Date; readonly detail: string } | null;
}

const MAX_DETAIL = 500;

/** Notifications that wait, and the log of attempts, in PostgreSQL. */
export class DeliveryStore {
  constructor(private readonly database: PrismaClient) {}

  /** Notifications that wait, in the order in which they were made. */
  async waiting(): Promise<readonly WaitingNotification[]> {
    const rows = await this.database.notification.findMany({
      where: { dueAt: { not: null } },
      orderBy: { sequence: 'asc' },
    });
    return rows.map(({ id, receiver, group, kind, content, createdAt, attempts, dueAt }) => ({
      ...{ id, receiver, group, attempts },
      kind: kind as NotificationRecord['kind'],
      content: content as unknown as NotificationContent,
      createdMs: createdAt.getTime(),
      dueMs: dueAt?.getTime() ?? 0,
    }));
  }

  /** Writes an attempt and what follows from it. */
  async record({ notification, number, atMs, outcome, detail, durationMs, retryAtMs }: Attempt): Promise<void> {
    const { id, receiver, kind, content } = notification;
    await this.database.$transaction([
      this.database.delivery.create({
        data: {
          ...{ notification: id, receiver, kind, outcome, durationMs },
          attempt: number,
          at: new Date(atMs),
          detail: storableText(detail, MAX_DETAIL),
          summary: storableText(content.summary, MAX_DETAIL),
        },
      }),
      this.database.notification.updateMany({
        where: { id },
        data: {
          attempts: number,
          dueAt: retryAtMs === null ? null : new Date(retryAtMs),
          ...(outcome === 'delivered' ? { deliveredAt: new Date(atMs) } : {}),
        },
      }),
    ]);
  }

  /** One page of the log, the newest first. */
  async page(query: DeliveryQuery): Promise<DeliveryPage> {
    const [before] = query.cursor === undefined ? [] : partsOf(query.cursor, 1);
    if (before !== undefined && !/^\d{1,18}$/.test(before))
      throw new ProblemError(422, 'cursor: expected `next` of an earlier page');
    const rows = await this.database.delivery.findMany({
      where: {
        ...(query.receiver === undefined ? {} : { receiver: query.receiver }),
        ...(query.outcome === undefined ? {} : { outcome: query.outcome }),
        ...(before === undefined ? {} : { id: { lt: BigInt(before) } }),
      },
      orderBy: { id: 'desc' },
      take: query.limit + 1,
    });
    const items = rows.slice(0, query.limit);
    const last = items.at(-1);
    return {
      items: items.map(({ id, at, kind, outcome, ...rest }) => ({
        ...rest,
        id: String(id),
        at: at.toISOString(),
        kind: kind as Delivery['kind'],
        outcome: outcome as Delivery['outcome'],
      })),
      next: rows.length > query.limit && last !== undefined ? cursorOf([String(last.id)]) : null,
    };
  }

  /** What became of the deliveries to each receiver. */
  async activity(receivers: readonly string[]): Promise<ReadonlyMap<string, ReceiverActivity>> {
    const entries = await Promise.all(
      receivers.map(async (receiver): Promise<[string, ReceiverActivity]> => {
        const newest = (outcomes: readonly string[]) =>
          this.database.delivery.findFirst({
            where: { receiver, outcome: { in: [...outcomes] } },
            orderBy: { id: 'desc' },
          });
        const [waiting, delivered, failed] = await Promise.all([
          this.database.notification.count({ where: { receiver, dueAt: { not: null } } }),
          newest(['delivered']),
          newest(['failed', 'given-up']),
        ]);
        const lastFailure = failed === null ? null : { at: failed.at, detail: failed.detail };
        return [receiver, { waiting, lastDeliveredAt: delivered?.at ?? null, lastFailure }];
      }),
    );
    return new Map(entries);
  }
}

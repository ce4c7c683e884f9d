import { describe, expect, it } from 'vitest';
import type { NotificationRecord, ToldAlert } from './alert-record.ts';
import { alertmanagerAlert, mailSubject, mailText, messageId, signedHeaders, webhookBody } from './senders.ts';

const T0 = Date.parse('2027-01-01T00:00:00Z');

function alert(more: Partial<ToldAlert> = {}): ToldAlert {
  return {
    ...{ id: 'a1', status: 'firing', rule: 'lost', severity: 'critical', subject: 'x', summary: 'x is lost', value: 1 },
    ...{ labels: { rule: 'lost', device: 'x' }, runbook: 'docs/operations.md#device-lost' },
    ...{ startedAt: '2027-01-01T00:00:00.000Z', resolvedAt: null },
    ...more,
  };
}

function notification(more: Partial<NotificationRecord['content']> = {}): NotificationRecord {
  const content = {
    status: 'firing',
    summary: 'x is lost',
    group: { rule: 'lost' },
    firing: 1,
    alerts: [alert()],
    omitted: 0,
  } as const;
  return { id: 'n1', receiver: 'hook', group: 'g', kind: 'alerts', createdMs: T0, content: { ...content, ...more } };
}

describe('a signed webhook', () => {
  it('has the signature of the example of Standard Webhooks', () => {
    const key = Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64');
    const body = '{"test": 2432232314}';
    expect(signedHeaders(key, 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1_614_265_330, body)).toEqual({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    });
  });

  it('says what it is, when it was made and what happened', () => {
    expect(JSON.parse(webhookBody(notification()))).toMatchObject({
      type: 'alert.firing',
      timestamp: '2027-01-01T00:00:00.000Z',
      data: { receiver: 'hook', status: 'firing', firing: 1, alerts: [{ id: 'a1', subject: 'x' }] },
    });
    expect(JSON.parse(webhookBody({ ...notification(), kind: 'test' }))).toMatchObject({ type: 'test' });
  });
});

describe('an alert for Alertmanager', () => {
  it('has labels that tell it apart, and an end that is put off with every word of it', () => {
    expect(alertmanagerAlert(alert(), 'alerts', T0, 60_000)).toEqual({
      labels: { alertname: 'lost', rule: 'lost', device: 'x' },
      annotations: {
        summary: 'x is lost',
        runbook_url: 'docs/operations.md#device-lost',
        value: '1',
        muster_alert: 'a1',
      },
      startsAt: '2027-01-01T00:00:00.000Z',
      endsAt: '2027-01-01T00:10:00.000Z',
    });
  });

  it('that is over has the end that it had', () => {
    const over = alert({ status: 'resolved', resolvedAt: '2027-01-01T00:01:00.000Z', runbook: null, value: null });
    expect(alertmanagerAlert(over, 'alerts', T0, 60_000)).toMatchObject({
      annotations: { summary: 'x is lost', muster_alert: 'a1' },
      endsAt: '2027-01-01T00:01:00.000Z',
    });
  });

  it('that is a notice lasts until its group was told, and no longer', () => {
    expect(alertmanagerAlert(alert(), 'notice', T0 + 1, 60_000)).toMatchObject({ endsAt: '2027-01-01T00:05:00.000Z' });
  });
});

describe('a mail', () => {
  it('says in one line what it is about, whatever a device is called', () => {
    expect(mailSubject(notification({ summary: 'a\r\nBcc: all@example.org is lost' }))).toBe(
      '[Muster FIRING 1] a Bcc: all@example.org is lost',
    );
    expect(mailSubject(notification({ status: 'resolved', summary: 'Resolved: x is lost' }))).toBe(
      '[Muster RESOLVED] Resolved: x is lost',
    );
    expect(mailSubject({ ...notification(), kind: 'notice' })).toBe('[Muster NOTICE] x is lost');
  });

  it('has every alert with its labels and what to do, and says how many are left out', () => {
    expect(mailText(notification({ firing: 7, omitted: 6 }).content)).toBe(`x is lost

CRITICAL  x is lost
  since 2027-01-01T00:00:00.000Z
  rule=lost device=x
  what to do: docs/operations.md#device-lost

… and 6 more; all of them: muster alert ls

7 of this group fire now.
`);
  });

  it('has the same Message-ID at every attempt', () => {
    expect(messageId('n1', 'Muster@example.org')).toBe('<n1@example.org>');
  });
});

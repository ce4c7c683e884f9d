import { createHmac } from 'node:crypto';
import AsyncLock from 'async-lock';
import { createTransport, type Transporter } from 'nodemailer';
import type { NotificationContent, NotificationRecord, ToldAlert } from './alert-record.ts';
import type { Channel, ReceiverConfiguration } from './receivers.ts';

/** A receiver did not take a notification; the message says what it answered. */
export class DeliveryError extends Error {
  override readonly name = 'DeliveryError';
  readonly code = 'delivery';

  constructor(
    message: string,
    /** How long the receiver asks us to wait, in milliseconds. */
    readonly retryAfterMs?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Tells one receiver. */
export interface Sender {
  /**
   * Tells a notification once; answers what the receiver said.
   * @throws DeliveryError
   */
  readonly send: (notification: NotificationRecord) => Promise<string>;
  /**
   * Tells again what fires, where a receiver forgets; asked for it only when everything before has been told, so that
   * an alert that has ended meanwhile does not come back.
   * @throws DeliveryError
   */
  readonly again?: (firing: () => readonly ToldAlert[]) => Promise<void>;
  readonly close: () => void;
}

const HTTP_LIMIT_MS = 10_000;
const SMTP_LIMIT_MS = 20_000;
const LONGEST_ANSWER = 200;
/** Without a word from us Alertmanager takes an alert for over after so many of our intervals. */
const INTERVALS_UNTIL_OVER = 10;
const LEAST_UNTIL_OVER_MS = 60_000;
/** Something that automation asks to tell happens once; in Alertmanager it has to last until its group was told. */
const NOTICE_MS = 5 * 60_000;

/** The headers of a signed webhook (Standard Webhooks, standardwebhooks.com). */
export function signedHeaders(
  key: Buffer,
  id: string,
  timestampSeconds: number,
  body: string,
): Readonly<Record<string, string>> {
  const signature = createHmac('sha256', key).update(`${id}.${timestampSeconds}.${body}`).digest('base64');
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestampSeconds),
    'webhook-signature': `v1,${signature}`,
  };
}

/** The body of a webhook. */
export function webhookBody({ kind, receiver, content, createdMs }: NotificationRecord): string {
  const type = kind === 'alerts' ? `alert.${content.status}` : kind;
  return JSON.stringify({ type, timestamp: new Date(createdMs).toISOString(), data: { receiver, ...content } });
}

/** An alert as Alertmanager takes it (API v2, postableAlert). */
export function alertmanagerAlert(
  alert: ToldAlert,
  kind: NotificationRecord['kind'],
  nowMs: number,
  resendMs: number,
): object {
  const { rule, labels, summary, runbook, startedAt, resolvedAt, value, id } = alert;
  const overMs =
    kind === 'notice'
      ? Date.parse(startedAt) + NOTICE_MS
      : nowMs + Math.max(resendMs * INTERVALS_UNTIL_OVER, LEAST_UNTIL_OVER_MS);
  return {
    labels: { alertname: rule, ...labels },
    annotations: {
      summary,
      ...(runbook === null ? {} : { runbook_url: runbook }),
      ...(value === null ? {} : { value: String(value) }),
      muster_alert: id,
    },
    startsAt: startedAt,
    endsAt: resolvedAt ?? new Date(overMs).toISOString(),
  };
}

/** Posts alerts to an Alertmanager; answers what it said. */
async function postAlerts(
  channel: Extract<Channel, { type: 'alertmanager' }>,
  alerts: readonly ToldAlert[],
  kind: NotificationRecord['kind'],
): Promise<string> {
  const nowMs = Date.now();
  const body = JSON.stringify(alerts.map((alert) => alertmanagerAlert(alert, kind, nowMs, channel.resendMs)));
  const { authorization } = channel;
  return post(`${channel.url}/api/v2/alerts`, body, authorization === undefined ? {} : { authorization });
}

async function post(url: string, body: string, headers: Readonly<Record<string, string>>): Promise<string> {
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(url, {
      method: 'POST',
      // A receiver is where its operator says; nobody else sends our alerts elsewhere.
      redirect: 'manual',
      headers: { 'content-type': 'application/json', 'user-agent': 'Muster', ...headers },
      body,
      signal: AbortSignal.timeout(HTTP_LIMIT_MS),
    });
    text = (await answer.text()).slice(0, LONGEST_ANSWER);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw new DeliveryError(cause, undefined, { cause: error });
  }
  const said = `${answer.status} ${answer.statusText}`.trim();
  if (answer.ok) return said;
  const seconds = Number(answer.headers.get('retry-after') ?? Number.NaN);
  throw new DeliveryError(
    text.trim() === '' ? said : `${said}: ${text}`,
    Number.isFinite(seconds) && seconds >= 0 ? seconds * 1_000 : undefined,
  );
}

function alertLines({
  status,
  summary,
  severity,
  startedAt,
  resolvedAt,
  runbook,
  labels,
}: ToldAlert): readonly string[] {
  return [
    `${status === 'firing' ? severity.toUpperCase() : 'RESOLVED'}  ${summary}`,
    `  since ${startedAt}${resolvedAt === null ? '' : ` until ${resolvedAt}`}`,
    `  ${Object.entries(labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(' ')}`,
    ...(runbook === null ? [] : [`  what to do: ${runbook}`]),
    '',
  ];
}

/** The text of a mail. */
export function mailText({ summary, alerts, omitted, firing }: NotificationContent): string {
  return [
    summary,
    '',
    ...alerts.flatMap(alertLines),
    ...(omitted === 0 ? [] : [`… and ${omitted} more; all of them: muster alert ls`, '']),
    `${firing} of this group fire now.`,
    '',
  ].join('\n');
}

/** The subject of a mail, on one line. */
export function mailSubject({ kind, content }: NotificationRecord): string {
  const what =
    kind === 'alerts' ? (content.status === 'firing' ? `FIRING ${content.firing}` : 'RESOLVED') : kind.toUpperCase();
  return `[Muster ${what}] ${content.summary}`.replace(/[\u0000-\u001f\u007f]+/g, ' ').slice(0, 200);
}

/** The Message-ID of a notification: the same for every attempt. */
export function messageId(notification: string, from: string): string {
  return `<${notification}@${from.slice(from.lastIndexOf('@') + 1)}>`;
}

function mailTransport(channel: Extract<Channel, { type: 'email' }>): Transporter {
  const { host, port, security, username, password } = channel;
  return createTransport({
    host,
    port,
    secure: security === 'tls',
    requireTLS: security === 'starttls',
    ignoreTLS: security === 'none',
    ...(username === undefined ? {} : { auth: { user: username, pass: password ?? '' } }),
    connectionTimeout: SMTP_LIMIT_MS,
    greetingTimeout: SMTP_LIMIT_MS,
    socketTimeout: SMTP_LIMIT_MS,
    // What is in a text is text: nothing of it is read from disk or fetched.
    disableFileAccess: true,
    disableUrlAccess: true,
  });
}

/** The sender of a receiver. */
export function senderOf({ channel, route }: ReceiverConfiguration): Sender {
  const nothing = (): void => undefined;
  switch (channel.type) {
    case 'alertmanager': {
      const turns = new AsyncLock();
      const inTurn = async <Result>(work: () => Promise<Result>): Promise<Result> => turns.acquire('alerts', work);
      return {
        send: ({ content, kind }) => inTurn(() => postAlerts(channel, content.alerts, kind)),
        again: (firing) =>
          inTurn(async () => {
            const alerts = firing();
            for (let at = 0; at < alerts.length; at += route.maxAlerts)
              await postAlerts(channel, alerts.slice(at, at + route.maxAlerts), 'alerts');
          }),
        close: nothing,
      };
    }
    case 'webhook':
      return {
        send: (notification) => {
          const body = webhookBody(notification);
          const seconds = Math.floor(Date.now() / 1000);
          return post(channel.url, body, signedHeaders(channel.key, notification.id, seconds, body));
        },
        close: nothing,
      };
    case 'email': {
      const transport = mailTransport(channel);
      return {
        send: async (notification) => {
          const id = messageId(notification.id, channel.from);
          try {
            const { response, rejected } = (await transport.sendMail({
              from: channel.from,
              to: [...channel.to],
              subject: mailSubject(notification),
              text: mailText(notification.content),
              messageId: id,
              headers: {
                'auto-submitted': 'auto-generated',
                'x-muster-group': JSON.stringify(notification.content.group),
              },
            })) as { response: string; rejected: readonly string[] };
            const refused = rejected.length === 0 ? '' : `; refused for ${rejected.join(', ')}`;
            return `${response}${refused}`.slice(0, LONGEST_ANSWER);
          } catch (error) {
            throw new DeliveryError(error instanceof Error ? error.message : String(error), undefined, {
              cause: error,
            });
          }
        },
        close: () => transport.close(),
      };
    }
  }
}

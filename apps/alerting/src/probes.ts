import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { connect } from 'node:tls';
import type { BrokerTarget } from '@muster/broker';
import type { Logger } from '@muster/service';
import { ingestionSource } from './condition.ts';
import type { FleetStore, Heard } from './fleet-store.ts';
import type { Measurement } from './running-rule.ts';

const DAY_MS = 86_400_000;
const ANSWER_LIMIT_MS = 5_000;
const MAX_METRICS_BYTES = 2_000_000;
/** The brokers whose canary was not found. */
const CANARY_MISSING = 'canary_missing';
const SAMPLE = /^muster_ingestion_([a-z0-9_]+)(?:\{[^}]*\})? (-?[0-9.e+]+|NaN)(?: \d+)?$/;

/** Certificates of a PEM text, in its order; what is none is left out. */
export function certificatesOf(pem: string): readonly X509Certificate[] {
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).flatMap((one) => {
    try {
      return [new X509Certificate(one)];
    } catch {
      // A file of authorities may have what this Node cannot read; the connection would say so.
      return [];
    }
  });
}

/** Days until a certificate ends, to a tenth; below 0 when it has. */
export function daysLeft(validTo: string, nowMs: number): number {
  return Math.floor(((Date.parse(validTo) - nowMs) / DAY_MS) * 10) / 10;
}

/** Two values of a figure as one: of shares the largest, of times that are left the shortest, of all else the sum. */
function together(name: string, one: number | undefined, other: number): number {
  if (one === undefined) return other;
  if (name.endsWith('_share')) return Math.max(one, other);
  return name.endsWith('_left') ? Math.min(one, other) : one + other;
}

/** Figures of ingestion in Prometheus' text format, over all their labels: summed, but for shares and times that are left. */
export function ingestionFigures(text: string): ReadonlyMap<string, number> {
  const figures = new Map<string, number>();
  for (const line of text.slice(0, MAX_METRICS_BYTES).split('\n')) {
    const [, name, value] = SAMPLE.exec(line) ?? [];
    const number = Number(value);
    if (name !== undefined && Number.isFinite(number)) figures.set(name, together(name, figures.get(name), number));
  }
  return figures;
}

async function figuresAt(url: string): Promise<ReadonlyMap<string, number>> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return ingestionFigures(await answer.text());
}

/** The end of the certificate that a broker shows, whoever has vouched for it; undefined where it speaks no TLS. */
export async function brokerCertificateEnd({ url }: BrokerTarget): Promise<string | undefined> {
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== 'mqtts:') return undefined;
  const host = hostname.replace(/^\[|\]$/g, '');
  return new Promise((resolve, reject) => {
    // It is looked at and not trusted: nothing is sent.
    const name = isIP(host) === 0 ? { servername: host } : {};
    const socket = connect({ host, port: Number(port), ...name, rejectUnauthorized: false }, () => {
      const { valid_to: validTo } = socket.getPeerCertificate();
      socket.destroy();
      resolve(validTo);
    });
    socket.setTimeout(ANSWER_LIMIT_MS, () => socket.destroy(new Error('no answer')));
    socket.on('error', reject);
  });
}

/** What is looked at again and again. */
export interface ProbeOptions {
  readonly store: FleetStore;
  readonly brokers: readonly BrokerTarget[];
  /** Where ingestion tells its metrics. */
  readonly ingestionUrls: readonly string[];
  /** Whether any rule looks at a source. */
  readonly uses: (source: string) => boolean;
  readonly onMeasurement: (measurement: Measurement) => void;
  /** Called with who was heard, and until when that is known. */
  readonly onHeard: (heard: readonly Heard[], untilMs: number) => void;
  readonly logger: Logger;
}

const OFTEN_MS = 10_000;
/** Each look is a line in the log of the broker. */
const SELDOM_MS = 3_600_000;
/** Clocks of services differ. */
const OVERLAP_MS = 5 * 60_000;
/** Ingestion writes what it has heard so often. */
const WRITTEN_WITHIN_MS = 1_000;

/** Looks at what nobody tells: dead letters, activity, ingestion's figures, certificates. */
export class Probes {
  readonly #options: ProbeOptions;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #failing = new Set<string>();
  /** Reasons of dead letters that have been seen, and the empty one for that there was a look. */
  readonly #reasons = new Set<string>();
  #heardUntil = new Date(0);
  #isClosed = false;

  constructor(options: ProbeOptions) {
    this.#options = options;
  }

  /** Looks at everything once, and begins to look again and again. */
  async start(): Promise<void> {
    await Promise.all([
      this.#every('activity', OFTEN_MS, () => this.#activity()),
      this.#every('dead letters', OFTEN_MS, () => this.#deadLetters()),
      this.#every('metrics of ingestion', OFTEN_MS, () => this.#ingestion()),
      this.#every('certificates', SELDOM_MS, () => this.#certificates()),
    ]);
  }

  /** Looks at once at what new rules may ask for. */
  async again(): Promise<void> {
    this.#heardUntil = new Date(0);
    await Promise.all([this.#activity(), this.#deadLetters(), this.#ingestion(), this.#certificates()]);
  }

  /** Stops. */
  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  /** What cannot be looked at is told once, and once when it can be again: it is no alert. */
  async #every(name: string, intervalMs: number, look: () => Promise<void>): Promise<void> {
    try {
      await look();
      if (this.#failing.delete(name)) this.#options.logger.info({ probe: name }, 'can be looked at again');
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (!this.#failing.has(name)) this.#options.logger.warn({ probe: name, reason }, 'cannot be looked at');
      this.#failing.add(name);
    }
    if (this.#isClosed) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.#every(name, intervalMs, look);
    }, intervalMs);
    this.#timers.add(timer);
  }

  async #activity(): Promise<void> {
    const { store, uses, onHeard } = this.#options;
    if (!uses('heard')) return;
    const since = new Date(Math.max(0, this.#heardUntil.getTime() - OVERLAP_MS));
    const startedAt = new Date();
    onHeard(await store.heardSince(since), startedAt.getTime() - WRITTEN_WITHIN_MS);
    this.#heardUntil = startedAt;
  }

  async #deadLetters(): Promise<void> {
    const { store, uses, onMeasurement } = this.#options;
    if (!uses('dead-letters')) return;
    const isFirst = this.#reasons.size === 0;
    for (const { reason, count } of await store.deadLetters()) {
      // A reason that was not there before has grown from nothing.
      if (!isFirst && !this.#reasons.has(reason)) onMeasurement({ source: 'dead-letters', subject: reason, value: 0 });
      this.#reasons.add(reason);
      onMeasurement({ source: 'dead-letters', subject: reason, value: count });
    }
    this.#reasons.add('');
  }

  async #ingestion(): Promise<void> {
    const { ingestionUrls, uses, onMeasurement } = this.#options;
    if (ingestionUrls.length === 0) return;
    const answers = await Promise.allSettled(ingestionUrls.map(figuresAt));
    const totals = new Map<string, number>();
    for (const answer of answers)
      if (answer.status === 'fulfilled')
        for (const [name, value] of answer.value) totals.set(name, together(name, totals.get(name), value));
    const failure = answers.find((answer) => answer.status === 'rejected');
    const tell = (name: string, value: number): void => {
      if (uses(ingestionSource(name))) onMeasurement({ source: ingestionSource(name), subject: 'ingestion', value });
    };
    if (failure !== undefined) {
      // Where ingestion does not answer, nobody can have found its canary.
      const silent = answers.filter(({ status }) => status === 'rejected').length;
      tell(CANARY_MISSING, (totals.get(CANARY_MISSING) ?? 0) + silent);
      throw failure.reason;
    }
    for (const [name, value] of totals) tell(name, value);
  }

  async #certificates(): Promise<void> {
    const { brokers, uses } = this.#options;
    if (!uses('certificate')) return;
    for (const certificate of certificatesOf(brokers[0]?.ca ?? ''))
      this.#certificate(`authority ${certificate.subject.replaceAll('\n', ', ')}`, certificate.validTo);
    const looks = await Promise.all(
      brokers.map(async (broker) => {
        try {
          const validTo = await brokerCertificateEnd(broker);
          if (validTo !== undefined) this.#certificate(broker.name, validTo);
          return undefined;
        } catch (error) {
          return `${broker.name}: ${error instanceof Error ? error.message : String(error)}`;
        }
      }),
    );
    const failures = looks.filter((failure) => failure !== undefined);
    if (failures.length > 0) throw new Error(failures.join('; '));
  }

  #certificate(subject: string, validTo: string): void {
    const value = daysLeft(validTo, Date.now());
    if (Number.isFinite(value)) this.#options.onMeasurement({ source: 'certificate', subject, value });
  }
}

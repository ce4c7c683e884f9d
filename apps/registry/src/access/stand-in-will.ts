import { encodeOffline, type DeviceId, type Evidence } from '@muster/contract';
import type { PrismaClient } from '@muster/database';
import type { AccountStore } from '@muster/security';
import type { Logger } from '@muster/service';
import type { PublishResult } from '../downlink/command-machine.ts';
import type { Downlink } from '../downlink/downlink.ts';

const TRY_EVERY_MS = 1_000;

/** A device that may look connected. */
export interface SeeminglyPresent {
  readonly device: DeviceId;
  readonly session: bigint | null;
  readonly evidence: Evidence;
  readonly reason: string;
  readonly since: Date;
}

/** The session that ends with an account, and when that was looked up. */
export interface EndingSession {
  readonly session: bigint | null;
  readonly lookedAtMs: number;
}

/** A device of which it is yet to be said that it is not there. */
interface Waiting {
  /** Of the accounts with which it is disconnected. */
  readonly version: bigint;
  ending: EndingSession;
}

/**
 * What is to be done for a device whose account is gone: `wait` until its broker has taken that, `publish` that it is not
 * there, or nothing any more, because it does not look connected, its broker was taken out and tells nobody of it, or it
 * has connected since with what it has been given. Where it numbers no sessions its birth says so.
 * @param isBrokerKnown whether the broker at which it was heard last is one of those that are configured
 * @param isTaken whether that broker goes by accounts without the old one
 */
export function standInStep(
  present: SeeminglyPresent | undefined,
  before: EndingSession,
  { isBrokerKnown, isTaken }: { readonly isBrokerKnown: boolean; readonly isTaken: boolean },
): 'wait' | 'publish' | 'nothing' {
  if (present === undefined || !isBrokerKnown) return 'nothing';
  if (!isTaken) return 'wait';
  const { session, reason, evidence, since } = present;
  const isBornAnew = session === null && reason === 'birth' && !evidence.retained;
  const isBack = session !== before.session || (isBornAnew && since.getTime() > before.lookedAtMs);
  return isBack ? 'nothing' : 'publish';
}

/**
 * What a broker does not say: it publishes no will for an account that it does not know any more (mqtt-pitfalls P9, R6),
 * and the device would look connected for ever.
 */
export class StandInWill {
  readonly #waiting = new Map<DeviceId, Waiting>();
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> | undefined;
  #isClosed = false;

  constructor(
    private readonly database: Pick<PrismaClient, '$queryRaw'>,
    private readonly accounts: Pick<AccountStore, 'whenApplied'>,
    private readonly downlink: Downlink,
    private readonly logger: Logger,
  ) {}

  /** Of how many devices it is yet to be said that they are not there. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Says for devices that were disconnected that they are not there, in the name of their current session, at the brokers
   * where they were; of those that were there. Retained unless told, as a will is.
   */
  async publish(devices: readonly DeviceId[], reason: 'unexpected' | 'shutdown', retain = true): Promise<void> {
    await Promise.all((await this.#present(devices)).map(async (one) => this.#publish(one, reason, retain)));
  }

  /**
   * Says the same of devices whose account or password is gone with a version of the accounts, where their broker has
   * taken it. What has not, or is away, disconnects them later: it is tried until then, for as long as this process
   * runs, or until the device is there with what it has been given since.
   */
  async follow(devices: readonly DeviceId[], version: bigint): Promise<void> {
    for (const { device, session } of await this.#present(devices))
      this.#waiting.set(device, { version, ending: { session, lookedAtMs: Date.now() } });
    await this.#tryAll();
  }

  /** Tries no more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#working;
  }

  /** One attempt at a time: who comes while one runs is part of the next. */
  async #tryAll(): Promise<void> {
    await this.#working;
    this.#working ??= this.#try().finally(() => {
      this.#working = undefined;
      clearTimeout(this.#timer);
      if (this.#waiting.size > 0 && !this.#isClosed)
        this.#timer = setTimeout(() => void this.#tryAll(), TRY_EVERY_MS).unref();
    });
    await this.#working;
  }

  async #try(): Promise<void> {
    try {
      const present = new Map((await this.#present([...this.#waiting.keys()])).map((one) => [one.device, one]));
      const lookedAtMs = Date.now();
      const taken = await this.#taken(present);
      await Promise.all(
        [...this.#waiting].map(async ([device, waiting]) => {
          const one = present.get(device);
          const step = standInStep(one, waiting.ending, {
            isBrokerKnown: one !== undefined && this.downlink.brokers.includes(one.evidence.broker),
            isTaken: one !== undefined && taken.has(`${waiting.version} ${one.evidence.broker}`),
          });
          if (one !== undefined && step === 'wait') {
            // Until then it may come and go with what it had.
            waiting.ending = { session: one.session, lookedAtMs };
            return;
          }
          if (one !== undefined && step === 'publish') {
            const { outcome } = await this.#publish(one, 'unexpected', true);
            if (outcome === 'away') return;
            if (outcome === 'refused')
              this.logger.warn({ device, broker: one.evidence.broker }, 'a broker refuses the will of a device');
          }
          if (this.#waiting.get(device) === waiting) this.#waiting.delete(device);
        }),
      );
    } catch (error) {
      this.logger.warn({ err: error }, 'who was disconnected with its account could not be told of; it is tried again');
    }
  }

  /** The versions that devices wait for, with each of their brokers that has taken it. */
  async #taken(present: ReadonlyMap<DeviceId, SeeminglyPresent>): Promise<ReadonlySet<string>> {
    const brokers = [...new Set([...present.values()].map(({ evidence }) => evidence.broker))];
    const versions = [...new Set([...this.#waiting.values()].map(({ version }) => version))];
    const states = await Promise.all(
      versions.map(async (version) => {
        const applied = await this.accounts.whenApplied(brokers, version, 0);
        return applied.flatMap((one) => (one.applied ? [`${version} ${one.broker}`] : []));
      }),
    );
    return new Set(states.flat());
  }

  /** Those of some devices that look connected, or would if their broker were heard. */
  async #present(devices: readonly DeviceId[]): Promise<readonly SeeminglyPresent[]> {
    if (devices.length === 0) return [];
    // Nothing is retained for a device that is being taken out of service: it would be its ghost.
    return this.database.$queryRaw<SeeminglyPresent[]>`
      SELECT presence.device, presence.session, presence.evidence, presence.reason, presence.since FROM presence
      WHERE presence.device = ANY(${[...devices]}::text[]) AND presence.state IN ('online', 'stale', 'asleep', 'unknown')
        AND NOT EXISTS (SELECT 1 FROM tombstone WHERE tombstone.device = presence.device)`;
  }

  async #publish(
    { device, session, evidence }: SeeminglyPresent,
    reason: 'unexpected' | 'shutdown',
    retain: boolean,
  ): Promise<PublishResult> {
    const numbered = session === null ? undefined : encodeOffline(Number(session), reason);
    return this.downlink.publish(evidence.broker, {
      topic: `devices/${device}/status`,
      payload: numbered ?? JSON.stringify({ status: 'offline', reason }),
      retain,
    });
  }
}

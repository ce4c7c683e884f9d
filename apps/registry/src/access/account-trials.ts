import type { DeviceId, RevocationTrial } from '@muster/contract';
import { BrokerError, endSession, inParallel, tryConnection, type BrokerTarget } from '@muster/broker';
import type { PrismaClient } from '@muster/database';
import { isReservedDeviceId, randomPassword, type AccountStore } from '@muster/security';

const CONNECT_TIMEOUT_MS = 5_000;
const APPLIED_LIMIT_MS = 5_000;
/** At one broker; its listener for services lets 200 in. */
const CONNECTIONS_AT_ONCE = 16;
/** Not authorized, and bad user name or password, of MQTT 5 (section 3.2.2.2) and of 3.1.1. */
const REFUSALS: ReadonlySet<number> = new Set([134, 135, 4, 5]);
/** What brokers refuse in a client id (MQTT 5, section 1.5.4). */
const REFUSED_IN_IDS = /[\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]|\p{Surrogate}/u;

/** What was found out of one device's account. */
export interface TrialFindings {
  readonly trials: RevocationTrial['brokers'][number][];
  /** Brokers on which it was let in with a clean start, which ended its session. */
  readonly sessions: string[];
  readonly faults: Map<string, string>;
}

/** A session to be ended. */
export interface SessionOfDevice {
  readonly device: DeviceId;
  readonly clientId: string;
  /** Brokers on which that is not done yet. */
  readonly brokers: readonly string[];
}

/** What became of a device's sessions. */
export interface EndedSessions {
  readonly tried: string[];
  /** Where there was one. */
  readonly present: string[];
  /** Why a broker does not take this client id. */
  refused: string | undefined;
  readonly faults: Map<string, string>;
}

/** Connects as devices: with trial accounts, to see them let in and then refused; and in their place, to end sessions. */
export class AccountTrials {
  /** Passwords of trial accounts; nobody else has them, and what is lost with this process is made anew. */
  readonly #passwords = new Map<DeviceId, string>();

  constructor(
    private readonly database: PrismaClient,
    private readonly accounts: AccountStore,
    private readonly brokers: readonly BrokerTarget[],
  ) {}

  /** Passwords for the trial accounts of devices whose own are about to be taken away. */
  prepare(devices: readonly DeviceId[]): ReadonlyMap<DeviceId, string> {
    return new Map(devices.map((device) => [device, randomPassword()]));
  }

  /** Keeps the passwords of those that have been given a trial account. */
  remember(passwords: ReadonlyMap<DeviceId, string>, devices: readonly DeviceId[]): void {
    for (const device of devices) {
      const password = passwords.get(device);
      if (password !== undefined) this.#passwords.set(device, password);
    }
  }

  /**
   * Connects to every broker with each device's trial account, which lets it in; takes the account away; and connects
   * with the same user name and password again, which is refused. So the refusal is that of the account and of nothing
   * else. Answers the version of the accounts without them, and which brokers have it.
   */
  async try(devices: readonly DeviceId[]): Promise<{
    readonly version: bigint;
    readonly applied: readonly { readonly broker: string; readonly applied: boolean }[];
    readonly findings: ReadonlyMap<DeviceId, TrialFindings>;
  }> {
    const findings = new Map(
      devices.map((device): [DeviceId, TrialFindings] => [device, { trials: [], sessions: [], faults: new Map() }]),
    );
    const acceptedAt = new Map<string, Map<DeviceId, string>>();
    const passwords = new Map<DeviceId, string>();
    let version: bigint;
    try {
      const presented = await this.#present(devices, passwords);
      await Promise.all(
        (await this.#haveApplied(presented)).map(async (broker) => {
          const accepted = new Map<DeviceId, string>();
          acceptedAt.set(broker.name, accepted);
          await this.#connectEach(broker, devices, passwords, findings, (device, reasonCode) => {
            const found = findings.get(device);
            if (reasonCode === 0) {
              accepted.set(device, new Date().toISOString());
              found?.sessions.push(broker.name);
            } else found?.faults.set(broker.name, `its trial account was not let in, reason code ${reasonCode}`);
          });
        }),
      );
    } finally {
      // What fails from here on is begun anew with other passwords.
      for (const device of devices) this.#passwords.delete(device);
      version = await this.accounts.takeTrials(devices);
    }
    const names = this.brokers.map(({ name }) => name);
    const applied = await this.accounts.whenApplied(names, version, APPLIED_LIMIT_MS);
    await Promise.all(
      this.brokers
        .filter(({ name }) => applied.some((one) => one.broker === name && one.applied))
        .map(async (broker) => {
          const accepted = acceptedAt.get(broker.name) ?? new Map<DeviceId, string>();
          await this.#connectEach(broker, [...accepted.keys()], passwords, findings, (device, reasonCode) => {
            const found = findings.get(device);
            if (!REFUSALS.has(reasonCode))
              found?.faults.set(
                broker.name,
                `a connection with its account was answered with reason code ${reasonCode}`,
              );
            else
              found?.trials.push({
                ...{ broker: broker.name, acceptedAt: accepted.get(device) ?? '' },
                ...{ at: new Date().toISOString(), reasonCode },
              });
          });
        }),
    );
    return { version, applied, findings };
  }

  /** Makes the trial accounts that this process does not know the password of, and answers the version with all of them. */
  async #present(devices: readonly DeviceId[], passwords: Map<DeviceId, string>): Promise<bigint> {
    const unknown = this.prepare(devices.filter((device) => !this.#passwords.has(device)));
    for (const device of devices) passwords.set(device, this.#passwords.get(device) ?? unknown.get(device) ?? '');
    if (unknown.size === 0) return this.accounts.version();
    const { version } = await this.database.$transaction((transaction) =>
      this.accounts.putTrials(transaction, unknown, 'made'),
    );
    return version;
  }

  /** The brokers that have a version, after a while. */
  async #haveApplied(version: bigint): Promise<readonly BrokerTarget[]> {
    const names = this.brokers.map(({ name }) => name);
    const states = await this.accounts.whenApplied(names, version, APPLIED_LIMIT_MS);
    return this.brokers.filter(({ name }) => states.some((state) => state.broker === name && state.applied));
  }

  async #connectEach(
    broker: BrokerTarget,
    devices: readonly DeviceId[],
    passwords: ReadonlyMap<DeviceId, string>,
    findings: ReadonlyMap<DeviceId, TrialFindings>,
    onAnswer: (device: DeviceId, reasonCode: number) => void,
  ): Promise<void> {
    const left = new Set(devices);
    try {
      await inParallel(devices, CONNECTIONS_AT_ONCE, async (device) => {
        const target = { ...broker, username: device, password: passwords.get(device) };
        const trial = { broker: target, clientId: device, cleanStart: true };
        onAnswer(device, (await tryConnection(trial, CONNECT_TIMEOUT_MS)).reasonCode);
        left.delete(device);
      });
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      // A broker that does not answer one does not answer the others.
      for (const device of left) findings.get(device)?.faults.set(broker.name, error.message);
    }
  }

  /** Takes devices' places with the account of this service, and leaves: what was queued for them is gone. */
  async endSessions(sessions: readonly SessionOfDevice[]): Promise<ReadonlyMap<DeviceId, EndedSessions>> {
    const findings = new Map(
      sessions.map(({ device }): [DeviceId, EndedSessions] => [
        device,
        { tried: [], present: [], refused: undefined, faults: new Map() },
      ]),
    );
    await Promise.all(
      this.brokers.map(async (broker) => {
        const here = sessions.filter(({ brokers }) => brokers.includes(broker.name));
        const left = new Set(here);
        try {
          await inParallel(here, CONNECTIONS_AT_ONCE, async (session) => {
            const found = findings.get(session.device);
            const { clientId } = session;
            const answer = await endSession(broker, clientId, CONNECT_TIMEOUT_MS);
            if (answer.sessionPresent) found?.present.push(broker.name);
            if (answer.reasonCode === 0) found?.tried.push(broker.name);
            else if (found !== undefined)
              found.refused = `${broker.name} does not take the client id ${JSON.stringify(clientId)}, reason code ${answer.reasonCode}`;
            left.delete(session);
          });
        } catch (error) {
          if (!(error instanceof BrokerError)) throw error;
          for (const { device } of left) findings.get(device)?.faults.set(broker.name, error.message);
        }
      }),
    );
    return findings;
  }
}

/** Why nobody may take the place of a client id; undefined where that may be done. */
export function whyNotTaken(clientId: string, isAnothers: boolean): string | undefined {
  const shown = JSON.stringify(clientId);
  if (clientId === '') return 'it reports an empty client id';
  if (REFUSED_IN_IDS.test(clientId)) return `it reports the client id ${shown}, which no broker takes`;
  if (isReservedDeviceId(clientId)) return `the client id ${shown} is kept for services`;
  if (isAnothers) return `it reports the client id ${shown}, which is the id of another device in service`;
  return undefined;
}

import { deviceId, type DecommissionReport } from '@muster/contract';
import { checkSignature, ReportSigner } from '@muster/security';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  isShutOut,
  newReport,
  reopened,
  stepOf,
  withAccount,
  withCleared,
  withFound,
  withSaves,
  withSecondVerification,
  withServices,
  withSession,
  withVerification,
  type AccountFindings,
  type SessionFindings,
} from './decommission-report.ts';
import { storedReport, withBrokers } from './stored-report.ts';

const now = new Date(1_000);
const at = now.toISOString();
const brokers = ['mosquitto-0', 'mosquitto-1'];
const begun = newReport({
  ...{ device: deviceId('a'), now, brokers, filters: ['devices/a/#'], managed: true, hadAccount: true },
});
const trial = (broker: string): AccountFindings['trials'][number] => ({
  ...{ broker, acceptedAt: at, at, reasonCode: 135 },
});
const refusedBy = (...names: readonly string[]): AccountFindings => ({
  version: 7,
  brokers: brokers.map((broker) => ({ broker, applied: true })),
  trials: names.map(trial),
  nothingToTry: null,
  faults: new Map(),
});
const session = (more: Partial<SessionFindings> = {}): SessionFindings => ({
  ...{ clientId: 'a', refused: undefined, isKnown: true, tried: brokers, present: [], faults: new Map() },
  ...more,
});
const message = { broker: 'mosquitto-0', topic: 'devices/a/status', bytes: 6, sha256: 'f6' };
const looked = (
  ...names: readonly string[]
): { at: ReadonlyMap<string, Date>; left: []; faults: Map<string, string> } => ({
  at: new Map(names.map((name) => [name, now])),
  left: [],
  faults: new Map([['mosquitto-1', 'does not answer']]),
});
const nothing = { ...looked(...brokers), faults: new Map<string, string>() };
const stateOf = (report: DecommissionReport): readonly string[] =>
  report.steps.map(({ name, state }) => `${name} ${state}`);

describe('a report of a decommissioning', () => {
  it('has its steps in the order of R13, the tombstone done', () => {
    expect(stateOf(begun)).toEqual([
      'tombstone done',
      ...['services', 'account', 'session', 'clear', 'verify', 'save', 'verify-again'].map((name) => `${name} waiting`),
    ]);
    expect(begun).toMatchObject({ state: 'incomplete', notDone: [], signature: null });
  });

  it('says which service it waits for', () => {
    const report = withServices(begun, [{ service: 'presence@here', applied: false }], now);
    expect(stepOf(report, 'services')).toMatchObject({ state: 'waiting', startedAt: at, finishedAt: null });
    expect(report.notDone).toEqual([expect.stringMatching(/^presence@here: does not refuse its messages yet/)]);
    const done = withServices(report, [{ service: 'presence@here', applied: true }], now);
    expect([stepOf(done, 'services').state, done.notDone]).toEqual(['done', []]);
  });

  it('has the account refused only when every broker has refused it, whichever attempt that was', () => {
    const half = withAccount(begun, { ...refusedBy('mosquitto-1'), faults: new Map([['mosquitto-0', 'away']]) }, now);
    expect([half.account.revocation.state, half.notDone]).toEqual(['not-tried', ['mosquitto-0: away']]);
    const whole = withAccount(half, refusedBy('mosquitto-0'), now);
    expect(whole.account.revocation).toMatchObject({
      state: 'refused',
      brokers: [{ broker: 'mosquitto-0' }, { broker: 'mosquitto-1' }],
    });
    expect(stepOf(whole, 'account').state).toBe('done');
  });

  it('waits for the agent of a broker', () => {
    const behind = { ...refusedBy(...brokers), brokers: brokers.map((broker) => ({ broker, applied: false })) };
    expect(withAccount(begun, behind, now).notDone).toEqual(
      brokers.map((broker) => `${broker}: its agent has not taken the account away yet`),
    );
  });

  it('says where there is no account of its own to try, and where accounts are out of its hands', () => {
    const shared = withAccount(begun, { ...refusedBy(), nothingToTry: 'shared account' }, now);
    expect(shared.account.revocation).toMatchObject({ state: 'not-applicable', reason: 'shared account' });
    const external = newReport({ ...begun, now, managed: false, hadAccount: false });
    const told = withAccount(external, { ...refusedBy(), version: null, brokers: [] }, now);
    expect(told.account.revocation.state).toBe('external');
    expect(told.notDone).toEqual([expect.stringContaining('take it away there')]);
  });

  it('shuts the device out broker by broker: first its account, then its session', () => {
    const refused = withAccount(begun, refusedBy('mosquitto-0'), now);
    const here = (report: DecommissionReport): readonly boolean[] => brokers.map((broker) => isShutOut(report, broker));
    expect(here(refused)).toEqual([false, false]);
    const ended = withSession(refused, session({ tried: ['mosquitto-0'] }), now);
    expect(here(ended)).toEqual([true, false]);
    expect(ended.notDone).toContainEqual('mosquitto-1: its session is not ended yet');
  });

  it.each<[string, Partial<SessionFindings>, Partial<DecommissionReport['session']>, readonly string[]]>([
    ['ended everywhere', {}, { state: 'ended', clientId: 'a' }, brokers],
    ['ended where there was one', { isKnown: false, present: ['mosquitto-1'] }, { state: 'ended' }, ['mosquitto-1']],
    ['not purged by an unknown client id', { isKnown: false }, { state: 'not-purged', clientId: null }, []],
    ['not purged by an id of others', { refused: 'kept', tried: [] }, { state: 'not-purged', reason: 'kept' }, []],
    ['waited for', { isKnown: false, tried: ['mosquitto-0'] }, { state: 'waiting' }, []],
  ])('has the session %s', (_, findings, expected, sessions) => {
    const report = withSession(begun, session(findings), now);
    expect(report.session).toMatchObject(expected);
    expect(report.sessions).toEqual(sessions);
    expect(report.notDone.some((line) => line.startsWith('session: not purged: '))).toBe(
      expected.state === 'not-purged',
    );
  });

  it('notes a message once that was found again because its clearing was not on record', () => {
    const found = withFound(withFound(begun, [message], []), [message], []);
    expect(found.before).toEqual([message]);
  });

  it('does not grow with a device that comes back: it has the first of each topic, and how often and when it came again', () => {
    const clearing = (clearedAt: string, more = {}) => ({ ...message, clearedAt, reasonCode: 0, ...more });
    const other = { ...message, broker: 'mosquitto-1' };
    let report = withCleared(withFound(begun, [message, other], []), [clearing(at), { ...clearing(at), ...other }]);
    for (let time = 1; time <= 1_000; time += 1) {
      const later = { ...message, bytes: 7, sha256: `a${time}` };
      report = withFound(reopened(report), [later], []);
      report = withCleared(report, [clearing(new Date(1_000 + time).toISOString(), later)]);
    }
    expect(report.before).toEqual([message, other]);
    const again = { times: 1_000, lastAt: new Date(2_000).toISOString(), bytes: 7, sha256: 'a1000' };
    expect(report.cleared).toEqual([clearing(at, { again }), { ...clearing(at), ...other }]);
    const signer = new ReportSigner('a secret of the registry for tests');
    const signed = signer.sign(report);
    expect(checkSignature(storedReport(JSON.parse(JSON.stringify(signed))), signer.publicKey)).toBe('valid');
    const changed = { ...signed, cleared: [clearing(at)] };
    expect(checkSignature(changed, signer.publicKey)).toBe('forged');
  });

  it('is verified when every broker was looked at and holds nothing', () => {
    const report = withVerification(begun, nothing, true, now);
    expect(report).toMatchObject({ state: 'verified', verifiedAt: at, doneAt: null });
    expect(report.notDone).toEqual(
      brokers.map((broker) => expect.stringMatching(`^${broker}: its agent has not made it`) as unknown),
    );
  });

  it.each([
    ['something is left', { ...nothing, left: [message] }, 'mosquitto-0: 1 retained message is still there'],
    ['a broker could not be looked at', looked('mosquitto-0'), 'mosquitto-1: not verified: does not answer'],
  ])('is not verified while %s', (_, look, expected) => {
    const report = withVerification(begun, look, true, now);
    expect(report).toMatchObject({ state: 'incomplete', verifiedAt: null, notDone: [expected] });
  });

  it('is done when every broker has saved and was looked at again', () => {
    const verified = withVerification(begun, nothing, true, now);
    const half = withSaves(verified, new Map([['mosquitto-0', at]]), now);
    expect(half.notDone).toEqual([expect.stringMatching(/^mosquitto-1: its agent has not made it write/)]);
    const saved = withSaves(half, new Map([['mosquitto-1', at]]), now);
    expect(withSecondVerification(saved, looked('mosquitto-0'), now)).toMatchObject({
      state: 'verified',
      notDone: ['mosquitto-1: not looked at again: does not answer'],
    });
    const done = withSecondVerification(saved, nothing, now);
    expect(done).toMatchObject({ state: 'done', doneAt: at, notDone: [] });
    expect(done.verification[0]).toEqual({ broker: 'mosquitto-0', at, savedAt: at, againAt: at });
  });

  it('stays verified where no agent can force a save, and says so', () => {
    const report = withVerification(begun, nothing, false, now);
    expect([report.state, stepOf(report, 'save').state]).toEqual(['verified', 'not-applicable']);
    expect(report.notDone).toContainEqual(
      expect.stringContaining('no agent to force a save on mosquitto-0, mosquitto-1'),
    );
  });

  it('begins anew with clearing when something has reappeared, and keeps what it knows', () => {
    const cleared = withCleared(withFound(begun, [message], []), [{ ...message, clearedAt: at, reasonCode: 0 }]);
    const again = reopened(withVerification(cleared, nothing, true, now));
    expect(again).toMatchObject({ state: 'incomplete', verifiedAt: null, signature: null, before: [message] });
    expect(stateOf(again).slice(4)).toEqual([
      'clear waiting',
      'verify waiting',
      'save waiting',
      'verify-again waiting',
    ]);
  });

  it('begins anew on every broker where there is another one now, unless it is done', () => {
    const verified = withVerification(withAccount(begun, refusedBy(...brokers), now), nothing, true, now);
    const more = withBrokers(verified, [...brokers, 'mosquitto-2']);
    expect([more.state, stepOf(more, 'account').state, stepOf(more, 'services').state]).toEqual([
      ...['incomplete', 'waiting', 'waiting'],
    ]);
    expect(withBrokers(verified, brokers)).toBe(verified);
    const done: DecommissionReport = { ...verified, state: 'done' };
    expect(withBrokers(done, ['other'])).toBe(done);
  });

  it('stays verified where a broker was taken out, on those that are left, and does not wait for the other', () => {
    const verified = withVerification(withAccount(begun, refusedBy(...brokers), now), nothing, true, now);
    const signature = { algorithm: 'Ed25519', keyId: 'k', value: 'v' } as const;
    const left = withBrokers({ ...verified, signature }, ['mosquitto-1']);
    expect(left).toMatchObject({ state: 'verified', brokers: ['mosquitto-1'], verifiedAt: at, signature: null });
    expect(left.verification.map(({ broker }) => broker)).toEqual(['mosquitto-1']);
    expect(left.notDone).toEqual([expect.stringMatching(/^mosquitto-1: its agent has not made it write/)]);
    const saved = withSaves(left, new Map([['mosquitto-1', at]]), now);
    expect(withSecondVerification(saved, looked('mosquitto-1'), now)).toMatchObject({ state: 'done', notDone: [] });
  });

  it('does not wait for a broker that was taken out before it was verified', () => {
    const half = withAccount(begun, { ...refusedBy('mosquitto-0'), faults: new Map([['mosquitto-1', 'away']]) }, now);
    const left = withBrokers(half, ['mosquitto-0']);
    expect([left.state, left.brokers, left.notDone]).toEqual(['incomplete', ['mosquitto-0'], []]);
    expect(withAccount(left, refusedBy('mosquitto-0'), now).account.revocation.state).toBe('refused');
  });

  it('stays what was signed where it is at rest without agents and a broker was taken out', () => {
    const verified = withVerification(begun, nothing, false, now);
    expect(withBrokers(verified, ['mosquitto-1'])).toBe(verified);
    expect(withBrokers(verified, ['mosquitto-1', 'mosquitto-2']).state).toBe('incomplete');
  });

  it('never says of a broker that it was verified that was not looked at', () => {
    const names = ['mosquitto-0', 'mosquitto-1', 'mosquitto-2', 'mosquitto-3'];
    fc.assert(
      fc.property(
        fc.subarray(names, { minLength: 1 }),
        fc.array(fc.subarray(names, { minLength: 1 }), { maxLength: 5 }),
        fc.boolean(),
        (first, changes, managed) => {
          const all = { ...looked(...first), faults: new Map<string, string>() };
          let report = withVerification(
            newReport({ ...begun, now, brokers: first, managed, hadAccount: true }),
            all,
            managed,
            now,
          );
          for (const configured of changes) {
            report = withBrokers(report, configured);
            if (report.state === 'incomplete') return;
            for (const { broker } of report.verification) expect(first).toContain(broker);
            expect(report.verification.map(({ broker }) => broker).sort()).toEqual([...report.brokers].sort());
            if (managed) expect([...report.brokers].sort()).toEqual([...configured].sort());
          }
        },
      ),
    );
  });
});

describe('a report of an earlier version', () => {
  const kept = {
    ...{
      device: 'a',
      state: 'verified',
      requestedAt: at,
      verifiedAt: at,
      brokers,
      filters: [],
      before: [],
      cleared: [],
    },
    ...{ after: [], kept: [], notDone: [], services: [], sessions: ['mosquitto-0'] },
    account: { state: 'revoked', version: 3, brokers: [{ broker: 'mosquitto-0', applied: true }] },
  };

  it('has the steps that its state stands for, and says that its account was not tried', () => {
    const report = storedReport(kept);
    expect(stateOf(report).filter((line) => line.endsWith('done'))).toHaveLength(6);
    expect(report).toMatchObject({
      ...{ state: 'verified', doneAt: null, signature: null },
      verification: brokers.map((broker) => ({ broker, at, savedAt: null, againAt: null })),
      account: { state: 'revoked', revocation: { state: 'not-tried' } },
      session: { state: 'ended', tried: ['mosquitto-0'] },
    });
  });

  it('that has a topic as often as it was cleared keeps what was signed, and counts from there', () => {
    const twice = [at, new Date(2_000).toISOString()].map((clearedAt) => ({ ...message, clearedAt, reasonCode: 0 }));
    const whole = { ...newReport({ ...begun, now, managed: true, hadAccount: true }), state: 'done' };
    const signer = new ReportSigner('a secret of the registry for tests');
    const signed = signer.sign({ ...whole, before: [message, message], cleared: twice });
    const report = storedReport(JSON.parse(JSON.stringify(signed)));
    expect(checkSignature(report, signer.publicKey)).toBe('valid');
    const later = { ...message, clearedAt: new Date(3_000).toISOString(), reasonCode: 0 };
    const after = withCleared(withFound(reopened(report), [message], []), [later]);
    expect([after.before.length, after.cleared.length]).toEqual([2, 2]);
    expect(after.cleared[0]?.again).toMatchObject({ times: 1, lastAt: later.clearedAt });
  });

  it('of the first one, without account and services, is read as well', () => {
    const { account: _account, services: _services, sessions: _sessions, ...first } = kept;
    expect(storedReport({ ...first, state: 'incomplete' })).toMatchObject({
      ...{ services: [], sessions: [], session: { state: 'waiting', tried: [] } },
      account: { state: 'none', revocation: { state: 'not-tried' } },
    });
  });
});

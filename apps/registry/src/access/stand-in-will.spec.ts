import { deviceId, type Evidence } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { standInStep, type SeeminglyPresent } from './stand-in-will.ts';

const evidence: Evidence = { broker: 'mosquitto-0', topic: '', payload: '', retained: false, rule: '' };
const LOOKED_MS = 1_000_000;
const numbered: SeeminglyPresent = {
  ...{ device: deviceId('lab1'), session: 7n, reason: 'birth', since: new Date(LOOKED_MS - 1), evidence },
};
const unnumbered: SeeminglyPresent = { ...numbered, session: null };
const replayed: SeeminglyPresent = {
  ...{ ...unnumbered, since: new Date(LOOKED_MS + 1), evidence: { ...evidence, retained: true } },
};
const taken = { isBrokerKnown: true, isTaken: true };

describe('of a device whose account is gone', () => {
  it.each<[string, SeeminglyPresent | undefined, bigint | null, typeof taken, string]>([
    ['nothing is said while it does not look connected', undefined, 7n, taken, 'nothing'],
    ['nothing is said where its broker was taken out', numbered, 7n, { ...taken, isBrokerKnown: false }, 'nothing'],
    ['it is waited until its broker has taken that', numbered, 7n, { ...taken, isTaken: false }, 'wait'],
    ['it is said that it is not there', numbered, 7n, taken, 'publish'],
    ['nothing is said when it is back with another session', { ...numbered, session: 8n }, 7n, taken, 'nothing'],
    ['it is said of one without sessions that has not been born since', unnumbered, null, taken, 'publish'],
    [
      'nothing is said of one without sessions that was born since',
      { ...unnumbered, since: new Date(LOOKED_MS + 1) },
      ...([null, taken, 'nothing'] as const),
    ],
    ['a birth that a broker had retained is none', replayed, null, taken, 'publish'],
    [
      'telemetry is no birth: it may have been under way',
      { ...unnumbered, reason: 'telemetry', since: new Date(LOOKED_MS + 1) },
      ...([null, taken, 'publish'] as const),
    ],
  ])('%s', (_, present, session, options, step) => {
    expect(standInStep(present, { session, lookedAtMs: LOOKED_MS }, options)).toBe(step);
  });
});

import { deviceId, type DecommissionReport } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { decommissionReport, retainedMessage, split, type BrokerProof } from './retained-proof.ts';

const found = retainedMessage({
  broker: 'mosquitto-0',
  topic: 'devices/a/status',
  payload: new TextEncoder().encode('online'),
  qos: 0,
  retain: true,
  duplicate: false,
  isBacklog: false,
  receivedAtMs: 0,
  connection: { isLost: false },
  properties: {},
});
const clean: BrokerProof = {
  broker: 'mosquitto-0',
  session: true,
  before: [found],
  cleared: [{ ...found, clearedAt: '2026-01-01T00:00:00.000Z', reasonCode: 16 }],
  after: [],
  kept: [],
  fault: undefined,
};
const revoked: DecommissionReport['account'] = {
  state: 'revoked',
  version: 7,
  brokers: [{ broker: 'mosquitto-0', applied: true }],
};
const report = (
  proofs: readonly BrokerProof[],
  account = revoked,
  services: DecommissionReport['services'] = [{ service: 'presence@here', applied: true }],
): DecommissionReport =>
  decommissionReport({
    account,
    services,
    device: deviceId('a'),
    requestedAt: new Date(0),
    now: new Date(1),
    filters: ['devices/a/#'],
    proofs,
  });

describe('a decommission report', () => {
  it('shows size and hash of a message, and not its payload', () => {
    expect(found).toEqual({
      broker: 'mosquitto-0',
      topic: 'devices/a/status',
      bytes: 6,
      sha256: 'f6fc84c9f21c24907d6bee6eec38cabab5fa9a7be8c4a7827fe9e56f245bd2d5',
    });
    expect(JSON.stringify(report([clean]))).not.toContain('online');
  });

  it('is verified when every broker was asked again and holds nothing', () => {
    expect(report([clean, { ...clean, broker: 'mosquitto-1' }])).toMatchObject({
      state: 'verified',
      verifiedAt: new Date(1).toISOString(),
    });
  });

  it.each<[string, BrokerProof]>([
    ['something is left on one broker', { ...clean, broker: 'mosquitto-1', after: [found] }],
    ['one broker could not be asked', { ...clean, broker: 'mosquitto-1', fault: 'unreachable' }],
  ])('is incomplete when %s', (_, proof) => {
    expect(report([clean, proof])).toMatchObject({ state: 'incomplete', verifiedAt: null });
  });

  it('is incomplete while a service would take the device for a new one, and before any broker was looked at', () => {
    const services = [{ service: 'ingestion@here', applied: false }];
    expect(report([], revoked, services)).toMatchObject({
      state: 'incomplete',
      notDone: expect.arrayContaining([expect.stringContaining('ingestion@here: does not refuse')]),
    });
    expect(report([]).state).toBe('incomplete');
  });

  it('is incomplete while a broker may still let the device in', () => {
    const behind = { ...revoked, brokers: [{ broker: 'mosquitto-0', applied: false }] };
    expect(report([clean], behind)).toMatchObject({
      state: 'incomplete',
      notDone: expect.arrayContaining([expect.stringContaining('mosquitto-0: its agent has not taken')]),
    });
  });

  it('says where accounts are out of its hands', () => {
    expect(report([clean], { state: 'external', version: null, brokers: [] }).notDone).toContainEqual(
      expect.stringContaining('take it away there'),
    );
  });

  it('leaves a topic that another device owns as well', () => {
    const other = { topic: 'devices/a/status', owner: 'b' };
    expect(split([found], [other, { topic: 'elsewhere', owner: 'c' }])).toEqual({ own: [], kept: [other] });
    expect(split([found], [])).toEqual({ own: [found], kept: [] });
  });
});

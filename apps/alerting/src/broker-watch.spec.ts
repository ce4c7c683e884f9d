import { describe, expect, it } from 'vitest';
import { decodeFigure, decodeServiceStatus } from './broker-watch.ts';

describe('a figure that a broker tells of itself', () => {
  it.each([
    ['$SYS/broker/uptime', '8134 seconds', { source: 'uptime', value: 8134 }],
    ['$SYS/broker/clients/connected', '41', { source: 'broker-connections', value: 41 }],
    ['$SYS/broker/publish/messages/dropped', '0', { source: 'broker-dropped', value: 0 }],
    ['$SYS/broker/retained messages/count', '56', { source: 'broker-retained', value: 56 }],
    ['$SYS/broker/clients/total', '41', undefined],
    ['$SYS/broker/clients/connected', '', undefined],
    ['$SYS/broker/clients/connected', '-1', undefined],
    ['$SYS/broker/clients/connected', '1e9', undefined],
    ['$SYS/broker/clients/connected', '9'.repeat(50), undefined],
  ])('%s %j: %j', (topic, payload, figure) => {
    expect(decodeFigure(topic, Buffer.from(payload))).toEqual(figure);
  });
});

describe('what a service says of itself', () => {
  it.each([
    ['{"status":"online","timestamp":1800000000000}', { isOnline: true, sinceMs: 1_800_000_000_000 }],
    ['{"status":"online"}', { isOnline: true, sinceMs: undefined }],
    ['{"status":"offline","reason":"unexpected"}', { isOnline: false, sinceMs: undefined }],
    ['{"status":"away"}', undefined],
    ['{"status":"online","timestamp":"now"}', undefined],
    ['online', undefined],
    ['', undefined],
    [`{"status":"online","more":"${'x'.repeat(1_000)}"}`, undefined],
  ])('%s: %j', (payload, status) => {
    expect(decodeServiceStatus(Buffer.from(payload))).toEqual(status);
  });
});

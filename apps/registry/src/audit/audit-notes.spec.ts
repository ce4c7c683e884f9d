import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { changedDevices, fileRead, noteInAudit, notesOf } from './audit-notes.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

describe('what is noted of a request', () => {
  it('is all that was noted, the last word of each, and of no other request', () => {
    const [request, other] = [{}, {}];
    noteInAudit(request, { changed: 1, by: 'a' });
    noteInAudit(request, { changed: 2 });
    expect(notesOf(request)).toEqual({ changed: 2, by: 'a' });
    expect(notesOf(other)).toEqual({});
  });
});

describe('devices that were changed at once', () => {
  it.each<[string, readonly string[], string]>([
    ['none', [], ''],
    ['some, whatever their order', ['b', 'a', 'B'], 'B\na\nb\n'],
  ])('are named in the order of their bytes, with a hash that sort and sha256sum give: %s', (_, ids, text) => {
    expect(changedDevices(ids)).toEqual({
      ...{ changed: ids.length, devices: [...ids].sort(), devicesSha256: sha256(text) },
    });
  });

  it('are the first 500 of many, and a hash over all', () => {
    const ids = Array.from({ length: 501 }, (_, index) => `d${String(index).padStart(3, '0')}`);
    const { changed, devices, devicesSha256 } = changedDevices([...ids].reverse());
    expect([changed, devices.length, devices.at(-1)]).toEqual([501, 500, 'd499']);
    expect(devicesSha256).toBe(sha256(ids.map((id) => `${id}\n`).join('')));
  });
});

describe('a file that was read', () => {
  it('is known by its bytes and their hash', () => {
    expect(fileRead(Buffer.from('id\nlab1\n'))).toEqual({ bytes: 8, sha256: sha256('id\nlab1\n') });
  });
});

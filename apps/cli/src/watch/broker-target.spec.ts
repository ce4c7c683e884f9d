import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../up/settings.ts';
import { brokerTarget, type BrokerOptions } from './broker-target.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'muster-broker-target-'));
const passwordFile = path.join(folder, 'password');
writeFileSync(passwordFile, 'of the file\r\nsecond line\n');

describe('the broker to watch', () => {
  it.each<[Partial<BrokerOptions>, Record<string, string>, object]>([
    [{ broker: 'mqtt://broker.example' }, {}, { url: 'mqtt://broker.example:1883', username: undefined }],
    [{ broker: 'mqtts://10.0.0.1/' }, {}, { url: 'mqtts://10.0.0.1:8883' }],
    [{ broker: 'mqtt://[::1]:1884' }, {}, { url: 'mqtt://[::1]:1884' }],
    [{ broker: 'mqtt://a%40b@host' }, {}, { url: 'mqtt://host:1883', username: 'a@b' }],
    [
      { broker: 'mqtt://host', username: 'me' },
      { MUSTER_BROKER_USERNAME: 'you', MUSTER_BROKER_PASSWORD: 'secret' },
      { username: 'me', password: 'secret' },
    ],
    [{ broker: 'mqtt://host' }, { MUSTER_BROKER_USERNAME: 'you' }, { username: 'you', password: undefined }],
    [
      { broker: 'mqtt://host', passwordFile },
      { MUSTER_BROKER_PASSWORD: 'of the environment' },
      { password: 'of the file' },
    ],
  ])('of %o with %o is %o', (options, environment, expected) => {
    expect(brokerTarget({ broker: '', ...options }, environment)).toMatchObject(expected);
  });

  it.each<[Partial<BrokerOptions>, RegExp]>([
    [{ broker: 'broker.example' }, /expects mqtt:\/\/HOST:PORT/],
    [{ broker: 'http://broker.example' }, /found "http:\/\/broker\.example"/],
    [{ broker: 'ws://broker.example' }, /expects mqtt/],
    [{ broker: 'mqtt://' }, /expects mqtt/],
    [{ broker: 'mqtt://host/path' }, /expects mqtt/],
    [{ broker: 'mqtt://host:99999' }, /expects mqtt/],
    [{ broker: 'mqtt://host', passwordFile: '/nonexistent' }, /--password-file: \/nonexistent cannot be read/],
    [{ broker: 'mqtts://host', ca: '/nonexistent' }, /--ca: \/nonexistent cannot be read/],
    [{ broker: 'mqtt://host', ca: passwordFile }, /--ca is for mqtts/],
  ])('cannot be that of %o', (options, message) => {
    expect(() => brokerTarget({ broker: '', ...options }, {})).toThrow(UsageError);
    expect(() => brokerTarget({ broker: '', ...options }, {})).toThrow(message);
  });

  it('takes no password from a command line, and repeats none', () => {
    for (const broker of [
      'mqtt://me:hunter2@host',
      'ftp://me:hunter2@host/x',
      'mqtt://me:hunter2@ho st',
      'hunter2@x',
    ]) {
      let message = '';
      try {
        brokerTarget({ broker }, {});
      } catch (error) {
        message = (error as Error).message;
      }
      expect(message).toMatch(/MUSTER_BROKER_PASSWORD|expects mqtt/);
      expect(message).not.toContain('hunter2');
    }
  });
});

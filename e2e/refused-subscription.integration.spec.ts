import { pbkdf2Sync, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BrokerConnection, SubscriberConnection } from '@muster/broker';
import { freePort, mosquittoSource, startMosquitto, type ManagedProcess } from '@muster/engines';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** An acl_file refuses no subscription in Mosquitto 2.0; its own plugin for dynamic security does. */
const PLUGIN = ['x86_64-linux-gnu', 'aarch64-linux-gnu']
  .map((architecture) => `/usr/lib/${architecture}/mosquitto_dynamic_security.so`)
  .find(existsSync);
const reason =
  PLUGIN === undefined && process.env['CI'] !== 'true'
    ? 'Mosquitto has no plugin for dynamic security here'
    : undefined;

const account = { username: 'listener', password: 'integration-tests-only' };

function securityConfiguration(): string {
  const salt = randomBytes(12);
  const iterations = 101;
  const hash = pbkdf2Sync(account.password, salt, iterations, 64, 'sha512').toString('base64');
  return JSON.stringify({
    defaultACLAccess: { publishClientSend: true, publishClientReceive: true, subscribe: false, unsubscribe: true },
    clients: [
      {
        username: account.username,
        password: hash,
        salt: salt.toString('base64'),
        iterations,
        roles: [{ rolename: 'reader' }],
      },
    ],
    groups: [],
    roles: [{ rolename: 'reader', acls: [{ acltype: 'subscribePattern', topic: 'allowed/#', allow: true }] }],
  });
}

describe.skipIf(reason !== undefined)(
  `a broker that refuses subscriptions${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    let mosquitto: ManagedProcess | undefined;
    let url = '';

    beforeAll(async () => {
      const folder = mkdtempSync(path.join(tmpdir(), 'muster-refusal-'));
      const security = path.join(folder, 'security.json');
      writeFileSync(security, securityConfiguration());
      const port = await freePort();
      url = `mqtt://127.0.0.1:${port}`;
      const settings = [`plugin ${PLUGIN ?? ''}`, `plugin_opt_config_file ${security}`];
      mosquitto = await startMosquitto(
        {
          account,
          name: 'mosquitto-0',
          folder: path.join(folder, 'mosquitto'),
          logFile: path.join(folder, 'log'),
          port,
          settings,
        },
        await mosquittoSource('local', () => undefined),
      );
    });
    afterAll(async () => {
      await mosquitto?.stop(5_000);
    });

    function listenTo(filter: string): BrokerConnection {
      return new BrokerConnection({
        broker: { name: 'mosquitto-0', url, ...account },
        clientId: `listener-${filter.length}`,
        sessionExpirySeconds: 0,
        subscriptions: [{ filter, qos: 1 }],
      });
    }

    it('is an error at once, which names the filter and the client', async () => {
      const connection = listenTo('forbidden/#');
      await expect(connection.whenReady(5_000)).rejects.toThrow(
        /mosquitto-0 refused forbidden\/# to listener-11: .*Not authorized/,
      );
      expect(connection.ready).toBe(false);
      await connection.close(0);
    });

    it('is an error at once to a subscriber too', async () => {
      const connection = new SubscriberConnection({
        ...{ broker: { name: 'mosquitto-0', url, ...account }, clientId: 'subscriber', sessionExpirySeconds: 0 },
        subscriptions: ['allowed/#', 'forbidden/#'].map((filter) => ({ filter, qos: 1 as const })),
        onMessages: () => undefined,
      });
      await expect(connection.whenReady(5_000)).rejects.toThrow(
        /mosquitto-0 refused forbidden\/#, to subscriber: Not authorized/,
      );
      await connection.close(0);
    });

    it('grants the others', async () => {
      const connection = listenTo('allowed/#');
      await connection.whenReady(5_000);
      expect(connection.ready).toBe(true);
      await connection.close(0);
    });
  },
);

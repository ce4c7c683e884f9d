import { readFileSync } from 'node:fs';
import path from 'node:path';
import { isStorableText } from '@muster/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OperationNames, requestDetail, withoutSecrets } from './audit-detail.ts';

describe('what is kept of a request', () => {
  it.each([
    ['password', { password: 'p' }],
    ['newPassword', { newPassword: 'p' }],
    ['wifi_passwd', { wifi_passwd: 'p' }],
    ['token', { token: 'muster_x' }],
    ['apiKey', { apiKey: 'k' }],
    ['private-key', { 'private-key': 'k' }],
    ['client_secret', { client_secret: { nested: 's' } }],
    ['Authorization', { Authorization: 'Bearer x' }],
    ['credentials', { credentials: ['u', 'p'] }],
    ['Cookie', { Cookie: 'c' }],
  ])('hides what is named %s, however deep it lies', (name, body) => {
    expect(withoutSecrets({ args: [body] })).toEqual({ args: [{ [name]: '[hidden]' }] });
  });

  it.each([
    ...['psk', 'PSK', 'wifiPsk', 'wifi_psk', 'wifi-psk', 'WIFI_PSK', 'wpa2Psk', 'psk2', 'wifipsk'],
    ...['pwd', 'Pwd', 'mqttPwd', 'mqtt_pwd', 'PWD', 'userpwd', 'pass', 'mqttPass', 'mqtt_pass', 'MQTT-PASS'],
    ...['pin', 'PIN', 'simPin', 'sim_pin', 'SIM-PIN', 'pinCode', 'pin_code', 'pins', 'puk', 'otp', 'passcode'],
    ...['passphrase', 'passPhrase', 'pass_phrase', 'wifi.passphrase', 'Pass Phrase', 'PASSWORD', 'passwörd'],
    ...['apikey', 'apiKey', 'APIKey', 'api-key', 'api_key', 'API_KEY', 'api key', 'x-api-key', 'apiKeys', 'api__key'],
    ...['preSharedKey', 'pre-shared-key', 'networkKey', 'network_key', 'encryptionKey', 'encryption-key', 'sshKey'],
    ...['signingKey', 'masterKey', 'sessionKey', 'session_key', 'wepKey', 'wpa_key', 'privateKey', 'accessKeyId'],
    ...['bearer', 'jwt', 'accessToken', 'refresh_tokens', 'clientSecret', 'auth', 'basicAuth', 'basic_auth'],
  ])('hides what is named %s', (name) => {
    expect(withoutSecrets({ [name]: 'abc' })).toEqual({ [name]: '[hidden]' });
  });

  it.each([
    ...['name', 'limit', 'tags', 'keyboard', 'monkey', 'key', 'keys', 'keepAlive', 'publicKey', 'public_key'],
    ...['mapping', 'pinned', 'spin', 'ping', 'pingInterval', 'opinion', 'compass', 'passive', 'passed', 'bypass'],
    ...['author', 'authors', 'risk', 'desk', 'hotplug', 'latitude', 'primaryKey', 'turnkey', 'apiVersion'],
  ])('keeps what is named %s', (name) => {
    expect(withoutSecrets({ [name]: 'abc' })).toEqual({ [name]: 'abc' });
  });

  it('keeps everything else as it is', () => {
    const body = { name: 'Lab', limit: 3, on: false, none: null, tags: ['a'], keyboard: 'us', monkey: 1 };
    expect(withoutSecrets(body)).toEqual(body);
  });

  it('can be stored and is bounded, whatever was sent', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.dictionary(fc.string(), fc.string()), (body, query) => {
        const text = JSON.stringify(requestDetail({ body, query, from: '::1' }));
        expect(isStorableText(text)).toBe(true);
        expect(text).not.toContain('\\u0000');
        expect(text.length).toBeLessThan(20_000);
      }),
    );
  });

  it('makes text storable that PostgreSQL would refuse', () => {
    const kept = withoutSecrets({ 'a\0': 'b\0\ud800' });
    expect(kept).toEqual({ 'a\uFFFD': 'b\uFFFD\uFFFD' });
  });

  it('leaves out what is nested too deeply, and does not fall over it', () => {
    let deep: unknown = 'bottom';
    for (let depth = 0; depth < 50_000; depth += 1) deep = [deep];
    expect(JSON.stringify(withoutSecrets(deep))).toContain('nested too deeply');
  });

  it('has of a large body its size, its hash and its beginning, without secrets', () => {
    const { body } = requestDetail({ body: { token: 'abc', text: 'x'.repeat(20_000) }, query: {}, from: undefined });
    expect(body).toEqual({
      characters: 20_030,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      beginning: expect.stringMatching(/^\{"token":"\[hidden\]","text":"x{1900,1999}$/) as string,
    });
  });

  it('has a query only where there is one', () => {
    expect(requestDetail({ body: undefined, query: {}, from: undefined })).toEqual({});
    expect(requestDetail({ body: undefined, query: { dryRun: 'true', token: 't' }, from: '10.0.0.1' })).toEqual({
      from: '10.0.0.1',
      query: { dryRun: 'true', token: '[hidden]' },
    });
  });
});

describe('the name of an operation', () => {
  const { paths } = JSON.parse(readFileSync(path.join(import.meta.dirname, '../../openapi.json'), 'utf8')) as {
    paths: Record<string, object>;
  };
  const names = new OperationNames(paths);

  it.each([
    ['PATCH', '/api/v1/devices/lab1', 'PATCH /api/v1/devices/{id}', 'lab1'],
    ['POST', '/api/v1/devices/lab1/credentials/rotate', 'POST /api/v1/devices/{id}/credentials/rotate', 'lab1'],
    ['POST', '/api/v1/alert-rules/apply', 'POST /api/v1/alert-rules/apply', null],
    ['DELETE', '/api/v1/alert-rules/apply', 'DELETE /api/v1/alert-rules/{name}', 'apply'],
    ['POST', '/api/v1/alerts/a%20b/acknowledge', 'POST /api/v1/alerts/{id}/acknowledge', 'a b'],
    ['PUT', '/api/v1/mode', 'PUT /api/v1/mode', null],
    ['PATCH', '/API/V1/Devices/Lab1/', 'PATCH /api/v1/devices/{id}', 'Lab1'],
    ['POST', '/api/v1/nothing/here', 'POST /api/v1/nothing/here', null],
    ['PUT', '/api/v1/devices/lab1', 'PUT /api/v1/devices/lab1', null],
    ['PATCH', '/api/v1/devices/%zz', 'PATCH /api/v1/devices/{id}', '%zz'],
    ['PATCH', '/api/v1/devices/x%00', 'PATCH /api/v1/devices/{id}', 'x\uFFFD'],
  ])('%s %s is %s of %s', (method, route, action, subject) => {
    expect(names.of(method, route)).toEqual({ action, subject });
  });

  it('is bounded and can be stored, whatever the path', () => {
    fc.assert(
      fc.property(fc.webPath(), fc.string(), (route, more) => {
        const { action, subject } = names.of('POST', `/api/v1/devices/${more}${route}`);
        expect(action.length).toBeLessThanOrEqual(200);
        expect(isStorableText(`${action}${subject ?? ''}`)).toBe(true);
      }),
    );
  });
});

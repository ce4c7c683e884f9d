import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  brokerTargets,
  brokerVariables,
  loadTopicMap,
  postgresVariables,
  readConfiguration,
  serviceVariables,
} from './configuration.ts';

const schema = z.object({ ...serviceVariables, ...brokerVariables, ...postgresVariables });
const good = { MUSTER_BROKERS: 'mosquitto-0=mqtt://127.0.0.1:1883', MUSTER_POSTGRES_URL: 'postgresql://u:p@h:5432/d' };

describe('configuration from the environment', () => {
  it('has defaults, and reads a list of brokers', () => {
    const configuration = readConfiguration(schema, { ...good, MUSTER_BROKERS: 'a=mqtt://h:1883, b=mqtts://h:8883' });
    expect(configuration).toMatchObject({
      MUSTER_HTTP_PORT: 8080,
      MUSTER_HTTP_HOST: '127.0.0.1',
      MUSTER_LOG_LEVEL: 'info',
    });
    expect(brokerTargets(configuration).map(({ name, url }) => [name, url])).toEqual([
      ['a', 'mqtt://h:1883'],
      ['b', 'mqtts://h:8883'],
    ]);
  });

  it('names the variable, what was expected and what was found', () => {
    expect(() => readConfiguration(schema, { ...good, MUSTER_HTTP_PORT: '99999' })).toThrow(
      /MUSTER_HTTP_PORT: .*65535.*found "99999"/,
    );
    expect(() => readConfiguration(schema, {})).toThrow(
      /MUSTER_BROKERS: expected string; found nothing\. MUSTER_POSTGRES_URL/,
    );
    expect(() => readConfiguration(schema, { ...good, MUSTER_BROKERS: 'a=mqtt://h:1,a=mqtt://h:2' })).toThrow(
      /each name once/,
    );
  });

  it('never shows a secret', () => {
    expect(() => readConfiguration(schema, { ...good, MUSTER_POSTGRES_URL: 'mysql://u:hunter2@h/d' })).toThrow(
      /MUSTER_POSTGRES_URL.*not shown/,
    );
    expect(() => readConfiguration(schema, { ...good, MUSTER_POSTGRES_URL: 'mysql://u:hunter2@h/d' })).not.toThrow(
      /hunter2/,
    );
  });
});

describe('a topic map file', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'muster-topic-map-'));
  const file = (name: string, text: string): string => {
    writeFileSync(path.join(folder, name), text);
    return path.join(folder, name);
  };

  it('is YAML', () => {
    const map = loadTopicMap(
      file('good.yaml', 'topics:\n  - pattern: tele/{device}/SENSOR\n    role: telemetry\n    decoder: json\n'),
    );
    expect(map.match('tele/plug/SENSOR')?.device).toEqual({ valid: true, id: 'plug' });
  });

  it.each([
    ['no.yaml', 'topics: [', /no\.yaml/],
    ['wrong.yaml', 'topics:\n  - pattern: a/+\n    role: status\n', /write a wildcard as/],
  ])('is refused with its name: %s', (name, text, message) => {
    expect(() => loadTopicMap(file(name, text))).toThrow(message);
  });

  it('is the default one where none is given', () => {
    expect(loadTopicMap(undefined).match('devices/a/status')?.entry.role).toBe('status');
  });
});

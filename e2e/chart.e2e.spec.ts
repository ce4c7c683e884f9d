import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { execute, missingProgram } from './system.ts';

const CHART = path.join(import.meta.dirname, '../charts/muster');
const CI_VALUES = readdirSync(path.join(CHART, 'ci'));
const VALIDATOR = path.join(import.meta.dirname, '../node_modules/.cache/kubernetes-validate');
const KUBERNETES_VERSIONS = ['1.28', '1.29', '1.30', '1.31', '1.32', '1.33', '1.34'];
const reason = missingProgram('helm');
const noPython = missingProgram('python3');

interface Container {
  readonly name: string;
  readonly image: string;
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly resources?: { readonly requests?: object; readonly limits?: object };
  readonly livenessProbe?: { readonly httpGet?: { readonly path: string } };
  readonly readinessProbe?: object;
  readonly securityContext?: object;
}

interface PodSpec {
  readonly automountServiceAccountToken?: boolean;
  readonly securityContext?: object;
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
}

interface Manifest {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: {
    readonly template?: { readonly metadata: { readonly annotations?: object }; readonly spec: PodSpec };
    readonly replicas?: number;
    readonly maxUnavailable?: number;
    readonly volumeClaimTemplates?: readonly unknown[];
  } & Partial<PodSpec>;
  readonly data?: Readonly<Record<string, string>>;
}

async function template(values: string, ...settings: readonly string[]): Promise<string> {
  const args = ['template', 'r', CHART, '-f', path.join(CHART, 'ci', values)];
  const { code, stdout, stderr } = await execute('helm', [...args, ...settings.flatMap((set) => ['--set', set])]);
  expect(code, stderr).toBe(0);
  return stdout;
}

async function manifests(values: string, ...settings: readonly string[]): Promise<readonly Manifest[]> {
  return parseAllDocuments(await template(values, ...settings))
    .map((document) => document.toJS() as Manifest | null)
    .filter((manifest) => manifest !== null);
}

function podSpecs(all: readonly Manifest[]): readonly (readonly [name: string, spec: PodSpec])[] {
  return all.flatMap(({ kind, metadata, spec }) => {
    const pod = kind === 'Pod' ? (spec as PodSpec) : spec?.template?.spec;
    return pod === undefined ? [] : [[`${kind}/${metadata.name}`, pod] as const];
  });
}

function named(all: readonly Manifest[], kind: string, name: string): Manifest {
  const found = all.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
}

describe.skipIf(reason !== undefined)(`the chart${reason === undefined ? '' : ` (skipped: ${reason})`}`, () => {
  it.each(CI_VALUES)('is taken by helm lint --strict with %s', async (values) => {
    const { code, stdout } = await execute('helm', ['lint', '--strict', CHART, '-f', path.join(CHART, 'ci', values)]);
    expect(code, stdout).toBe(0);
  });

  it.each<[string, readonly string[], RegExp]>([
    ['an unknown key', ['brokers.replicas=2'], /additional properties 'brokers' not allowed/i],
    ['an unknown key far inside', ['broker.limits.maxConection=2'], /'maxConection' not allowed/i],
    ['a negative number of brokers', ['broker.replicas=-1'], /broker[./]replicas.*(minimum|greater)/is],
    ['a size that is none', ['broker.persistence.size=big'], /persistence[./]size/i],
    ['a missing secret', ['postgres.internal=false'], /postgres\.external\.existingSecret is missing: /],
    [
      'PostgreSQL inside and outside',
      ['postgres.external.existingSecret=x'],
      /postgres: internal and external at once; /,
    ],
    ['InfluxDB inside and outside', ['influxdb.external.url=http://x'], /influxdb: internal and external at once; /],
    [
      'an InfluxDB outside without its account',
      ['influxdb.internal=false'],
      /influxdb\.external\.url and .* are missing/,
    ],
    [
      'brokers outside without their account',
      ['broker.external[0].name=x', 'broker.external[0].url=mqtts://x:1'],
      /broker\.externalSecret is missing/,
    ],
    [
      'a secret of brokers outside, and none of these',
      ['broker.externalSecret=x'],
      /broker: internal and external at once; /,
    ],
    [
      'brokers of its own that queue nothing',
      ['broker.limits.maxQueuedMessages=0'],
      /broker\.limits\.maxQueuedMessages is 0, /,
    ],
    ['more consumers than brokers', ['ingestion.replicas=2'], /ingestion\.replicas is 2 and there are 1 brokers: /],
    ['an Ingress without a host', ['registry.ingress.enabled=true'], /registry\.ingress\.host is missing/],
    ['more public hosts than brokers', ['broker.publicHosts={a,b}'], /broker\.publicHosts has more entries/],
  ])('refuses %s with a sentence', async (_, settings, sentence) => {
    const { code, stderr } = await execute('helm', [
      'template',
      'r',
      CHART,
      ...settings.flatMap((set) => ['--set', set]),
    ]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(sentence);
  });

  it('has a schema for every value, and a value for every key of it', () => {
    const keysOf = (value: unknown, prefix = ''): readonly string[] =>
      Object.entries(value as object).flatMap(([key, child]: [string, unknown]) =>
        typeof child === 'object' &&
        child !== null &&
        !Array.isArray(child) &&
        Object.keys(child).length > 0 &&
        !/resources$/.test(key)
          ? keysOf(child, `${prefix}${key}.`)
          : [`${prefix}${key}`],
      );
    interface Node {
      readonly $ref?: string;
      readonly properties?: Readonly<Record<string, Node>>;
    }
    const schema = JSON.parse(readFileSync(path.join(CHART, 'values.schema.json'), 'utf8')) as Node;
    const resolve = (node: Node): Node =>
      node.$ref === undefined
        ? node
        : resolve(
            node.$ref
              .slice(2)
              .split('/')
              .reduce<Node>((at, key) => (at as Record<string, Node>)[key] ?? {}, schema),
          );
    const schemaKeys = (node: Node, prefix = ''): readonly string[] =>
      Object.entries(resolve(node).properties ?? {}).flatMap(([key, child]) =>
        resolve(child).properties === undefined || /resources$/.test(key)
          ? [`${prefix}${key}`]
          : schemaKeys(child, `${prefix}${key}.`),
      );
    const values = keysOf(parse(readFileSync(path.join(CHART, 'values.yaml'), 'utf8')));
    expect([...schemaKeys(schema)].filter((key) => key !== 'global').sort()).toEqual([...values].sort());
  });

  describe.each(CI_VALUES)('with %s', (values) => {
    it('runs every container without root, rights or a writable root, with resources and no service account', async () => {
      const pods = podSpecs(await manifests(values));
      expect(pods.length).toBeGreaterThan(3);
      for (const [name, spec] of pods) {
        expect([name, spec.automountServiceAccountToken]).toEqual([name, false]);
        expect([name, spec.securityContext]).toMatchObject([
          name,
          { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
        ]);
        for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
          expect([name, container]).toMatchObject([
            name,
            {
              securityContext: {
                allowPrivilegeEscalation: false,
                readOnlyRootFilesystem: true,
                capabilities: { drop: ['ALL'] },
              },
              resources: { requests: expect.anything(), limits: expect.anything() },
            },
          ]);
        }
      }
    });

    it('asks at liveness for the process alone, and for readiness wherever something serves', async () => {
      for (const { kind, spec } of await manifests(values)) {
        if (kind !== 'Deployment' && kind !== 'StatefulSet') continue;
        for (const { livenessProbe, readinessProbe, name } of spec?.template?.spec.containers ?? []) {
          expect([name, livenessProbe]).toEqual([name, expect.anything()]);
          expect([name, livenessProbe?.httpGet?.path]).not.toEqual([name, '/readyz']);
          if (name !== 'mosquitto') expect([name, readinessProbe]).toEqual([name, expect.anything()]);
        }
      }
    });

    it('has no password in an environment, an argument or a ConfigMap', async () => {
      for (const { kind, metadata, data, spec } of await manifests(values)) {
        if (kind === 'ConfigMap')
          for (const text of Object.values(data ?? {}))
            expect(text).not.toMatch(/password:? [^"'\s$]{16,}|token:? \S{16,}/i);
        for (const container of spec?.template?.spec.containers ?? [])
          for (const { name, value } of container.env ?? [])
            if (/PASSWORD|TOKEN/.test(name))
              expect([metadata.name, name, value]).toEqual([metadata.name, name, undefined]);
      }
    });

    it.skipIf(noPython !== undefined)(
      `keeps to the schemas of Kubernetes ${KUBERNETES_VERSIONS.join(', ')}`,
      async () => {
        await installValidator();
        const file = path.join(mkdtempSync(path.join(tmpdir(), 'muster-chart-')), 'all.yaml');
        writeFileSync(file, await template(values));
        for (const version of KUBERNETES_VERSIONS) {
          const args = ['--strict', '--quiet', '-k', version, file];
          const { code, stdout, stderr } = await execute(path.join(VALIDATOR, 'bin/kubernetes-validate'), args, 60_000);
          expect([version, code, stdout + stderr]).toMatchObject([version, 0, expect.not.stringContaining('FAIL')]);
        }
      },
      240_000,
    );
  });

  it('gives each broker a Service, a certificate and a volume, and the services all of their addresses', async () => {
    const all = await manifests('two-brokers-values.yaml');
    for (const name of ['r-muster-mosquitto-0', 'r-muster-mosquitto-1']) {
      named(all, 'Service', name);
      const tls = named(all, 'Secret', 'r-muster-broker-tls').data ?? {};
      expect(Object.keys(tls)).toEqual(expect.arrayContaining([`${name}.crt`, `${name}.key`, 'ca.crt']));
    }
    const brokers = named(all, 'StatefulSet', 'r-muster-mosquitto');
    expect(brokers.spec?.replicas).toBe(2);
    expect(brokers.spec?.volumeClaimTemplates).toHaveLength(1);
    const { env } = named(all, 'Deployment', 'r-muster-presence').spec?.template?.spec.containers[0] ?? {};
    expect(env?.find(({ name }) => name === 'MUSTER_BROKERS')?.value).toBe(
      'r-muster-mosquitto-0=mqtts://r-muster-mosquitto-0.r-muster-mosquitto.default.svc:8884,r-muster-mosquitto-1=mqtts://r-muster-mosquitto-1.r-muster-mosquitto.default.svc:8884',
    );
  });

  it('configures the broker so that nothing is lost and nobody takes another’s place', async () => {
    const conf = named(await manifests('default-values.yaml'), 'ConfigMap', 'r-muster-mosquitto').data?.[
      'mosquitto.conf'
    ];
    for (const line of [
      'use_username_as_clientid true',
      'allow_anonymous false',
      'autosave_interval 30',
      'max_queued_messages 1000000',
      'max_packet_size 2097152',
      'max_connections 20000',
      'set_tcp_nodelay true',
      'persistence true',
    ])
      expect(conf?.split('\n').map((text) => text.trim())).toContain(line);
    const shared = named(
      await manifests('default-values.yaml', 'broker.sharedAccount=true'),
      'ConfigMap',
      'r-muster-mosquitto',
    );
    expect(shared.data?.['mosquitto.conf']).not.toContain('use_username_as_clientid');
  });

  it('tells ingestion what its brokers keep for it, and what yours do', async () => {
    for (const [values, settings, messages] of [
      ['default-values.yaml', ['broker.limits.maxQueuedMessages=2000000'], '2000000'],
      ['external-values.yaml', ['broker.limits.maxQueuedMessages=0'], '0'],
    ] as const) {
      const ingestion = named(await manifests(values, ...settings), 'StatefulSet', 'r-muster-ingestion');
      const { env } = ingestion.spec?.template?.spec.containers[0] ?? {};
      expect(env).toContainEqual({ name: 'MUSTER_BROKER_MAX_QUEUED_MESSAGES', value: messages });
    }
  });

  it('limits disruption to one pod of a kind, and keeps databases to its own pods', async () => {
    const all = await manifests('default-values.yaml');
    const budgets = all.filter(({ kind }) => kind === 'PodDisruptionBudget');
    expect(budgets.map(({ metadata }) => metadata.name.replace('r-muster-', '')).sort()).toEqual([
      'alerting',
      'automation',
      'broker',
      'influxdb',
      'ingestion',
      'postgres',
      'presence',
      'registry',
    ]);
    expect(budgets.every(({ spec }) => spec?.maxUnavailable === 1)).toBe(true);
    expect(all.filter(({ kind }) => kind === 'NetworkPolicy').map(({ metadata }) => metadata.name)).toEqual([
      'r-muster-broker',
      'r-muster-influxdb',
      'r-muster-postgres',
    ]);
  });

  it('gives Grafana its data sources by fixed uid and every dashboard, or ConfigMaps for a sidecar', async () => {
    const all = await manifests('default-values.yaml', 'grafana.consoleUrl=https://muster.example.org');
    const sources = parse(named(all, 'ConfigMap', 'r-muster-grafana').data?.['datasources.yaml'] ?? '') as {
      readonly datasources: readonly { readonly uid: string; readonly secureJsonData: { readonly password: string } }[];
    };
    expect(sources.datasources.map(({ uid }) => uid)).toEqual(['muster-influxdb', 'muster-postgres']);
    expect(sources.datasources.every(({ secureJsonData }) => secureJsonData.password.startsWith('$'))).toBe(true);
    const dashboards = named(all, 'ConfigMap', 'r-muster-dashboards');
    expect(Object.keys(dashboards.data ?? {}).sort()).toEqual(readdirSync(path.join(CHART, 'dashboards')).sort());
    for (const text of Object.values(dashboards.data ?? {})) {
      JSON.parse(text);
      expect(text).not.toContain('127.0.0.1:8300');
    }
    expect(dashboards.metadata.labels).not.toHaveProperty('grafana_dashboard');
    const sidecar = named(await manifests('external-values.yaml'), 'ConfigMap', 'r-muster-dashboards');
    expect(sidecar.metadata.labels).toMatchObject({ grafana_dashboard: '1' });
    expect(sidecar.metadata.annotations).toEqual({ grafana_folder: 'Fleet' });
  });

  it('starts pods again when their configuration changed, and not otherwise', async () => {
    const annotations = async (...settings: readonly string[]): Promise<unknown> =>
      named(await manifests('default-values.yaml', ...settings), 'StatefulSet', 'r-muster-mosquitto').spec?.template
        ?.metadata.annotations;
    const before = await annotations();
    expect(await annotations('registry.service.type=NodePort')).toEqual(before);
    expect(await annotations('broker.limits.maxConnections=7')).not.toEqual(before);
    expect(await annotations('topicMap=topics: []')).not.toEqual(before);
  });

  it('with everything outside installs no engine, and no agent', async () => {
    const all = await manifests('external-values.yaml');
    expect(all.filter(({ kind }) => kind === 'StatefulSet').map(({ metadata }) => metadata.name)).toEqual([
      'r-muster-ingestion',
    ]);
    const { env } = named(all, 'Deployment', 'r-muster-registry').spec?.template?.spec.containers[0] ?? {};
    expect(env).toContainEqual({ name: 'MUSTER_BROKER_ACCOUNTS', value: 'external' });
    expect(all.some(({ kind, metadata }) => kind === 'Secret' && metadata.name.endsWith('-secrets'))).toBe(false);
  });
});

/** kubernetes-validate from PyPI, with the schemas of all versions in it. */
async function installValidator(): Promise<void> {
  if (
    (await execute(path.join(VALIDATOR, 'bin/kubernetes-validate'), ['--version']).catch(() => undefined))?.code === 0
  )
    return;
  mkdirSync(path.dirname(VALIDATOR), { recursive: true });
  const made = await execute('python3', ['-m', 'venv', VALIDATOR], 60_000);
  expect(made.code, made.stderr).toBe(0);
  const installed = await execute(
    path.join(VALIDATOR, 'bin/pip'),
    ['install', '-q', 'kubernetes-validate==1.37.0'],
    180_000,
  );
  expect(installed.code, installed.stderr).toBe(0);
}

import type { Problem } from '@muster/contract';
import { calculators, planSchema, type CalculatorList, type Plan } from '@muster/planner';
import { describe, expect, it } from 'vitest';
import { curl, execute, muster as asOperator } from './system.ts';
import { SystemOfFile } from './system-of-file.ts';

const system = new SystemOfFile();

describe('the planner over REST', () => {
  it('lists the calculators with the schemas of what they take and answer', async () => {
    const { status, body } = await curl(system.address, '/api/v1/plan');
    expect(status).toBe(200);
    const { items, result } = body as CalculatorList;
    expect(items.map(({ id }) => id)).toEqual(calculators.map(({ id }) => id));
    expect(items[0]).toMatchObject({
      question: expect.stringContaining('?'),
      input: { properties: { batteryMah: { unit: 'mAh', minimum: 1, maximum: 1_000_000, default: 2_000 } } },
    });
    expect(result).toMatchObject({ $defs: { PlanFigure: {} } });
  });

  it('answers the figures of the course with the honest ones beside', async () => {
    const { status, body } = await curl(
      system.address,
      '/api/v1/plan/battery?qos=1&batteryMah=2000&intervalSeconds=60',
    );
    expect(status).toBe(200);
    const { figures, input } = planSchema.parse(body);
    expect(input).toMatchObject({ qos: 1, batteryMah: 2_000, keepAliveSeconds: 60 });
    expect(figures['drainMahPerDay']?.course).toBeCloseTo(7.2, 9);
    expect(Math.round(figures['lifeDays']?.course ?? 0)).toBe(278);
    expect(figures['lifeDays']?.honest).toBeLessThan(3);
    expect((await curl(system.address, '/api/v1/plan/capacity')).body).toMatchObject({
      figures: { connections: { course: 1_216 } },
    });
  });

  it.each(calculators.map(({ id }) => [id]))('answers %s when nothing is given', async (id) => {
    const { status, body } = await curl(system.address, `/api/v1/plan/${id}`);
    expect([status, planSchema.parse(body).calculator]).toEqual([200, id]);
  });

  it.each([
    ['battery?batteryMah=-5', 'batteryMah', 'expected 1 to 1,000,000 mAh; found -5'],
    ['battery?batteryMah=NaN', 'batteryMah', 'expected 1 to 1,000,000 mAh; found "NaN"'],
    ['battery?batteryMah=2Ah', 'batteryMah', 'expected 1 to 1,000,000 mAh; found "2Ah"'],
    ['battery?batteryMah=', 'batteryMah', 'expected 1 to 1,000,000 mAh; found ""'],
    ['battery?batteryMah=1e999', 'batteryMah', 'expected 1 to 1,000,000 mAh; found Infinity'],
    ['battery?qos=3', 'qos', 'expected one of 0, 1, 2; found 3'],
    ['battery?qos=0&qos=1', 'qos', 'expected one of 0, 1, 2; found ["0","1"]'],
    ['battery?colour=red', 'colour', 'is no input of battery; it has batteryMah,'],
    ['battery?__proto__=1', '__proto__', 'is no input of battery;'],
    ['keep-alive?keepAliveSeconds=0', 'keepAliveSeconds', 'expected a whole number from 5 to 65,535 s; found 0'],
    ['topics?root=%24SYS', 'root', 'which is Muster\'s own; found "$SYS"'],
    [
      'deep-sleep?wakeIntervalSeconds=1',
      'wakeIntervalSeconds',
      'expected at least 3.47 s, which a wake takes; found 1',
    ],
  ])('answers 422 to %s and names field and range', async (query, path, message) => {
    const { status, type, body } = await curl(system.address, `/api/v1/plan/${query}`);
    expect([status, type]).toEqual([422, expect.stringContaining('application/problem+json')]);
    const { detail, errors } = body as Problem;
    expect(errors).toEqual([{ path, message: expect.stringContaining(message) }]);
    expect(detail).toContain(`${path}: `);
  });

  it('answers 404 to a calculator that there is not, and 401 without a token', async () => {
    expect(await curl(system.address, '/api/v1/plan/weather')).toMatchObject({ status: 404 });
    for (const route of ['plan', 'plan/battery']) {
      const { stdout } = await execute('curl', [
        '-s',
        '-o',
        '/dev/null',
        '-w',
        '%{http_code}',
        `${system.address.api.url}/api/v1/${route}`,
      ]);
      expect([route, stdout]).toEqual([route, '401']);
    }
  });

  it('stands in OpenAPI with every input, its unit and its range', async () => {
    const { body } = await curl(system.address, '/api/v1/openapi.json');
    expect(body).toMatchObject({
      paths: {
        '/api/v1/plan/battery': {
          get: {
            parameters: expect.arrayContaining([
              {
                name: 'batteryMah',
                in: 'query',
                required: false,
                description: 'Capacity of the battery',
                schema: { type: 'number', unit: 'mAh', minimum: 1, maximum: 1_000_000, default: 2_000 },
              },
            ]),
            responses: { 200: { content: { 'application/json': { schema: { $ref: '#/components/schemas/Plan' } } } } },
          },
        },
      },
      components: {
        schemas: {
          Plan: { properties: { figures: { additionalProperties: { $ref: '#/components/schemas/PlanFigure' } } } },
          PlanFigure: { properties: { course: {}, honest: {}, adds: {} } },
        },
      },
    });
    // A definition that only refers to itself would document nothing.
    const { schemas } = (body as { readonly components: { readonly schemas: Readonly<Record<string, object>> } })
      .components;
    for (const [name, schema] of Object.entries(schemas)) expect([name, '$ref' in schema]).toEqual([name, false]);
  });
});

describe('the planner on the command line', () => {
  const muster = (...args: readonly string[]): ReturnType<typeof execute> =>
    execute('node', ['apps/cli/dist/main.js', 'plan', ...args], 20_000, { MUSTER_URL: 'http://127.0.0.1:9' });

  it('lists the calculators without any API', async () => {
    const { code, stdout } = await muster();
    expect(code).toBe(0);
    for (const { id, question } of calculators) expect(stdout).toContain(`${id.padEnd(16)}  ${question}`);
    expect((JSON.parse((await muster('--json')).stdout) as CalculatorList).items).toHaveLength(calculators.length);
  });

  it("prints the course's figure, the honest one and what that adds", async () => {
    const { code, stdout, stderr } = await muster(
      'battery',
      '--battery-mah',
      '2000',
      '--qos',
      '2',
      '--interval',
      '60s',
    );
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/THE COURSE'S +THE HONEST ONE +WHAT IT ADDS/);
    expect(stdout).toMatch(/Drain a day +14\.4 mAh .*Wi-Fi between messages/);
    expect(stdout).toMatch(/Battery life +138\.9 d +2\.\d+ d/);
  });

  it('answers what heartbeat a device may have for two years', async () => {
    const { code, stdout } = await muster('heartbeat', '--life', '2y', '--board-ma', '0');
    expect(code).toBe(0);
    expect(stdout).toMatch(/Report at most every +1,682 s \(28\.03 min\) +4,149 s \(69\.16 min\)/);
  });

  it('prints the same JSON as REST answers', async () => {
    const { stdout } = await muster('cost', '--devices', '50', '--sample-interval', '5s', '--json');
    const plan = JSON.parse(stdout) as Plan;
    expect(plan.figures['dollarsPerMonth']?.course).toBeCloseTo(95.9, 9);
    expect((await curl(system.address, '/api/v1/plan/cost?devices=50&sampleIntervalSeconds=5')).body).toEqual(plan);
    expect(JSON.parse((await asOperator(system.address, 'plan', 'cost', '--json')).stdout)).toEqual(plan);
  });

  it.each([
    [['battery', '--battery-mah', '-5'], '--battery-mah: expected 1 to 1,000,000 mAh; found -5'],
    [['battery', '--battery-mah', 'NaN'], '--battery-mah: expected 1 to 1,000,000 mAh; found "NaN"'],
    [['battery', '--interval', '60'], '--interval: expected a time from 100ms to 30d, with its unit'],
    [['battery', '--interval', '3parsecs'], 'found "3parsecs"'],
    [['battery', '--interval', '2y'], '--interval: expected 0.1 to 2,592,000 s; found 63072000'],
    [['battery', '--qos', '3'], '--qos: expected one of 0, 1, 2; found 3'],
    [['battery', '--qos'], 'argument missing'],
    [['battery', '--colour', 'red'], "unknown option '--colour'"],
    [['battery', 'more'], 'too many arguments'],
    [['weather'], 'no calculator "weather"; there are battery, '],
  ])('ends with 2 for %j and says why', async (args, why) => {
    expect(await muster(...args)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(why) });
  });
});

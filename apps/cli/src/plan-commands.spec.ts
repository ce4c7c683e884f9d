import { calculators, type Calculator, type Field } from '@muster/planner';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { addPlanCommands, figureText, optionName, planText, valueOf } from './plan-commands.ts';

function calculator(id: string): Calculator {
  const found = calculators.find((candidate) => candidate.id === id);
  if (found === undefined) throw new Error(`no calculator ${id}`);
  return found;
}

function field(id: string, name: string): Field {
  const found = calculator(id).fields.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no field ${name} of ${id}`);
  return found;
}

describe('an option of a calculator', () => {
  it.each([
    ['battery', 'batteryMah', '--battery-mah'],
    ['battery', 'qos', '--qos'],
    ['battery', 'intervalSeconds', '--interval'],
    ['heartbeat', 'lifeDays', '--life'],
    ['deep-sleep', 'tlsMs', '--tls'],
    ['deep-sleep', 'sleepUa', '--sleep-ua'],
    ['detection', 'withinSeconds', '--within'],
    ['cost', 'dollarsPerMillionMessages', '--dollars-per-million-messages'],
  ])('of %s for %s is %s: only a time goes without its unit', (id, name, option) => {
    expect(optionName(field(id, name))).toBe(option);
  });

  it.each([
    ['heartbeat', 'lifeDays', '2y', 730],
    ['heartbeat', 'lifeDays', '6mo', 180],
    ['heartbeat', 'lifeDays', '36h', 1.5],
    ['battery', 'intervalSeconds', '1.5m', 90],
    ['battery', 'intervalSeconds', '500ms', 0.5],
    ['battery', 'radioOnMs', '0.15s', 150],
    ['keep-alive', 'keepAliveSeconds', '1 m', 60],
    ['battery', 'batteryMah', '2000', '2000'],
  ])('of %s for %s takes %s as %s', (id, name, text, value) => {
    expect(valueOf(field(id, name), text)).toBe(value);
  });

  it.each(['60', '', 's', '-5s', '1e3s', '60 parsecs', 'Infinityy', '1h30m'])(
    'refuses the time %j and shows one',
    (text) => {
      expect(() => valueOf(field('battery', 'intervalSeconds'), text)).toThrow(
        /^--interval: expected a time from 100ms to 30d, with its unit .*, such as 1m; found "/,
      );
    },
  );

  it('stands in the help with what it is, its range and its default', () => {
    const muster = new Command('muster');
    addPlanCommands(muster);
    const plan = muster.commands.find((command) => command.name() === 'plan');
    const help = plan?.commands
      .find((command) => command.name() === 'battery')
      ?.helpInformation()
      .replace(/\s+/g, ' ');
    expect(help).toContain('--battery-mah <number> Capacity of the battery (1 to 1,000,000 mAh; default 2,000 mAh)');
    expect(help).toContain('--qos <choice> Quality of service (one of 0, 1, 2; default 0)');
    expect(help).toContain('--interval <time> Time between two messages (100ms to 30d; default 1m)');
    expect(plan?.commands.map((command) => command.name())).toEqual(calculators.map(({ id }) => id));
  });
});

describe('options of one calculator', () => {
  it.each(calculators.map((each) => [each.id, each] as const))(
    'of %s are all different, and none is --json',
    (_, each) => {
      const names = ['--json', '--help', ...each.fields.map(optionName)];
      expect(new Set(names).size).toBe(names.length);
    },
  );
});

describe('a figure as text', () => {
  it.each([
    [null, 'd', '-'],
    [833.333, 'd', '833.3 d (2.282 years)'],
    [26.04, 'd', '26.04 d'],
    [25_920_000, '', '25,920,000'],
    [95.9, '$', '$95.90'],
    [-1.5, '$', '-$1.50'],
    [0.0108, '$', '$0.011'],
    [0, '$', '$0.00'],
    [90, 's', '90 s'],
    [1_681.9, 's', '1,682 s (28.03 min)'],
    [83.796, '%', '83.8 %'],
    [0.0000012, 'mAh', '0.0000012 mAh'],
  ])('%d %s is %s', (value, unit, text) => {
    expect(figureText(value, unit)).toBe(text);
  });
});

describe('a plan as text', () => {
  it("has the course's figure, the honest one and what that adds side by side", () => {
    const battery = calculator('battery');
    const text = planText(battery, battery.answer({ qos: 1 }));
    expect(text).toMatch(/THE COURSE'S +THE HONEST ONE +WHAT IT ADDS/);
    expect(text).toMatch(/Drain a day +7\.2 mAh +\S+ mAh +\+\S+ mAh {2}Wi-Fi between messages/);
    expect(text).toMatch(/Battery life +277\.8 d/);
    expect(text).toMatch(/Sources\n {2}Wi-Fi between messages: .*: ESP-IDF Programming Guide/);
  });

  it('says none where nothing is enough, and why', () => {
    const heartbeat = calculator('heartbeat');
    const text = planText(heartbeat, heartbeat.answer({ lifeDays: 730 }));
    expect(text).toMatch(/Report at most every +1,682 s \(28\.03 min\) +none/);
    expect(text).toMatch(/No heartbeat is long enough/);
  });
});
